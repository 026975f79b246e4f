"""The validation rows that `evaluation.samples` shows, with the predictions for them."""

from itertools import groupby

from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.evaluation.evaluator import Evaluator
from llmkit.generation.predict import predict_prompts
from llmkit.metrics.prediction import Prediction
from llmkit.model.loss import unwrap_model
from llmkit.training.samples import Sample

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # decoded from some of a character's bytes
MAX_WORD_TOKENS = 16  # searched for the beginning of a word


def take_samples(
    evaluator: Evaluator,
    model: nn.Module,
    evaluation_set: EvaluationSet,
    predictions: list[Prediction],
) -> list[Sample]:
    """`evaluation.samples` rows of a set, always the same ones, with the predictions for them.

    Only the first process returns samples, since it alone shows them.

    Args:
        predictions: For each row, the prediction that was scored; empty for plain language
            modelling, for which texts are generated here.
    """
    num_samples = evaluator.evaluation.samples
    if not num_samples or not evaluator.accelerator.is_main_process:
        return []
    if evaluation_set.task.output == "text":
        indices = spread(len(evaluation_set.encoded), num_samples)
        blocks = [evaluation_set.encoded[index]["input_ids"] for index in indices]
        return continue_blocks(evaluator, model, dict(zip(indices, blocks, strict=True)))
    return [
        sample_of(evaluation_set, index, predictions[index])
        for index in spread(len(predictions), num_samples)
    ]


def spread(num_rows: int, num_samples: int) -> list[int]:
    """The indices of `num_samples` rows at equal distances; of all rows if they are fewer."""
    num_samples = min(num_samples, num_rows)
    return [number * num_rows // num_samples for number in range(num_samples)]


def sample_of(evaluation_set: EvaluationSet, index: int, prediction: Prediction) -> Sample:
    example = evaluation_set.examples[index]
    probability = (prediction.probabilities or {}).get(prediction.text)
    return Sample(example.id, example.prompt_text, example.references, prediction.text, probability)


def continue_blocks(
    evaluator: Evaluator, model: nn.Module, blocks: dict[int, list[int]]
) -> list[Sample]:
    """The first half of each block, how the block goes on, and the model's own continuation.

    blocks: Token ids by index.
    """
    tokenizer, generation, bare = evaluator.tokenizer, evaluator.generation, unwrap_model(model)
    # A prompt is at most half a block, so it fits the model together with this many tokens.
    num_new = min(generation.max_new_tokens, bare.config.max_position_embeddings // 2)
    num_least = min(generation.min_new_tokens, num_new)
    limits = {"max_new_tokens": num_new, "min_new_tokens": num_least, "num_return_sequences": 1}
    halved = [(block, half_of(block, tokenizer)) for block in blocks.values()]
    with evaluator.accelerator.autocast():
        predictions = predict_prompts(
            bare,
            tokenizer,
            [block[:cut] for block, cut in halved],
            {},
            generation.model_copy(update=limits),
            evaluator.evaluation.batch_size,
            evaluator.seed,
            list(blocks),
        )
    prompts = [decode_texts(block[:cut], tokenizer)[-1] for block, cut in halved]
    expected = [decode_texts(block[cut : cut + num_new], tokenizer)[0] for block, cut in halved]
    rows = zip(blocks, prompts, expected, predictions, strict=True)
    return [
        Sample(str(index), prompt, [text.rstrip(INCOMPLETE)], prediction.text)
        for index, prompt, text, prediction in rows
    ]


def half_of(block: list[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """The number of tokens in the first half of a block, which ends before a word if there is one
    among its last tokens, else at least with a whole character."""
    half = max(1, len(block) // 2)
    cuts = range(half, max(0, half - MAX_WORD_TOKENS), -1)
    for cut in cuts:
        if tokenizer.decode(block[cut : cut + 1])[:1].isspace():
            return cut
    for cut in cuts:
        if not tokenizer.decode(block[:cut]).endswith(INCOMPLETE):
            return cut
    return half


def decode_texts(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The texts that end-of-texts separate, without surrounding white space; at least one."""
    runs = groupby(ids, key=lambda token: token == tokenizer.eos_token_id)
    texts = [[] if is_end else list(tokens) for is_end, tokens in runs] or [[]]
    return [tokenizer.decode(tokens).strip() for tokens in texts]
