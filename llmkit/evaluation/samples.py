"""Sample predictions for a few validation rows, as set by `evaluation.samples`."""

from itertools import groupby

from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.evaluation.evaluator import Evaluator
from llmkit.generation.predict import predict_prompts
from llmkit.metrics.prediction import Prediction
from llmkit.model.loss import unwrap_model
from llmkit.training.samples import Sample

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # decoded from an incomplete character
MAX_WORD_TOKENS = 16  # to search backwards for the beginning of a word


def take_samples(
    evaluator: Evaluator,
    model: nn.Module,
    evaluation_set: EvaluationSet,
    predictions: list[Prediction],
) -> list[Sample]:
    """Select `evaluation.samples` rows of an evaluation set with their predictions.

    Every call selects the same rows. Processes other than the first return no samples.

    Args:
        predictions: The scored prediction of each row; empty for plain language modelling, for
            which texts are generated here.
    """
    num_samples = evaluator.evaluation.samples
    if not num_samples or not evaluator.accelerator.is_main_process:
        return []
    if evaluation_set.task.output == "text":
        indices = evenly_spaced(len(evaluation_set.encoded), num_samples)
        blocks = [evaluation_set.encoded[index]["input_ids"] for index in indices]
        return continue_blocks(evaluator, model, dict(zip(indices, blocks, strict=True)))
    return [
        make_sample(evaluation_set, index, predictions[index])
        for index in evenly_spaced(len(predictions), num_samples)
    ]


def evenly_spaced(num_rows: int, num_samples: int) -> list[int]:
    """Indices of `num_samples` evenly spaced rows, or of all rows if there are fewer."""
    num_samples = min(num_samples, num_rows)
    return [number * num_rows // num_samples for number in range(num_samples)]


def make_sample(evaluation_set: EvaluationSet, index: int, prediction: Prediction) -> Sample:
    """The sample for a row of the set and its prediction."""
    example = evaluation_set.examples[index]
    probability = (prediction.probabilities or {}).get(prediction.text)
    return Sample(example.id, example.prompt_text, example.references, prediction.text, probability)


def continue_blocks(
    evaluator: Evaluator, model: nn.Module, blocks: dict[int, list[int]]
) -> list[Sample]:
    """Samples of language modelling: the first half of each block as the prompt, the second half as
    the reference, and the model's continuation.

    blocks: Token ids by index of the block.
    """
    tokenizer, generation, bare = evaluator.tokenizer, evaluator.generation, unwrap_model(model)
    # A prompt is at most half a block, so this many new tokens always fit into the context.
    num_new = min(generation.max_new_tokens, bare.config.max_position_embeddings // 2)
    num_least = min(generation.min_new_tokens, num_new)
    limits = {"max_new_tokens": num_new, "min_new_tokens": num_least, "num_return_sequences": 1}
    halved = [(block, split_point(block, tokenizer)) for block in blocks.values()]
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


def split_point(block: list[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of tokens in the first half of a block. The half ends before a word if one begins
    among its last MAX_WORD_TOKENS tokens, otherwise at least with a complete character."""
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
    """Split token ids at end-of-text and decode them to stripped texts; returns at least one."""
    runs = groupby(ids, key=lambda token: token == tokenizer.eos_token_id)
    texts = [[] if is_end else list(tokens) for is_end, tokens in runs] or [[]]
    return [tokenizer.decode(tokens).strip() for tokens in texts]
