"""A model of transformers as a runtime."""

from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit.export.hugging_face import HuggingFaceRuntime


def opened(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    return HuggingFaceRuntime("transformers", model, AutoTokenizer.from_pretrained(folder))


def test_completions_do_not_depend_on_the_batch(full):
    runtime, prompts = opened(full.source.folder), full.original.inputs.prompts
    alone = [runtime.complete([prompt], 4)[0] for prompt in prompts]
    assert runtime.complete(prompts, 4) == alone


def test_a_completion_ends_before_any_end_token(full):
    runtime = opened(full.source.folder)
    runtime.end_tokens = [3, 9]
    assert runtime._before_end([1, 9, 3]) == [1]
    assert runtime._before_end([1, 2]) == [1, 2]


def test_the_tokens_that_end_texts_are_those_of_settings_and_tokenizer(full):
    runtime = opened(full.source.folder)
    assert runtime.end_tokens == [full.source.tokenizer.eos_token_id]
    runtime.model.generation_config.eos_token_id = [7, 8]
    again = HuggingFaceRuntime("transformers", runtime.model, runtime.tokenizer)
    assert again.end_tokens == sorted({7, 8, full.source.tokenizer.eos_token_id})
