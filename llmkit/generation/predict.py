"""Predictions for encoded prompts: generated text or, for a classifier, the most likely label."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.generation.generate import (
    generate,
    iter_completions,
    iter_text,
    make_requests,
    to_prediction,
)
from llmkit.generation.label_likelihood import label_probabilities
from llmkit.generation.request import Request
from llmkit.metrics.prediction import Prediction


def predict_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    labels: dict[str, list[int]],
    generation: Generation,
    batch_size: int,
    seed: int,
    numbers: Iterable[int],
) -> list[Prediction]:
    """Predict a label or text for each prompt. Texts are stripped of surrounding white space unless
    a constraint applies.

    Args:
        prompts: Token ids of each prompt.
        labels: Token ids of each label to choose from; if empty, text is generated.
        generation: Decoding settings; several sequences become the votes of the prediction.
        batch_size: Number of prompts per forward pass.
        seed: Random seed; the samples of a prompt depend only on it and the prompt's number.
        numbers: The number of each prompt.

    Raises UserError for a prompt that does not fit into the context.
    """
    if labels:
        chosen = label_probabilities(model, prompts, labels, batch_size)
        return [Prediction(max(row, key=row.get), row) for row in chosen]
    samples = generate(model, tokenizer, prompts, generation, batch_size, seed, numbers)
    return [combine_samples(of_prompt, generation) for of_prompt in samples]


def iter_predictions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    labels: dict[str, list[int]],
    generation: Generation,
    batch_size: int,
    seed: int,
    numbers: Sequence[int],
) -> Iterator[Prediction]:
    """Yield the prediction for each prompt as soon as it and all earlier ones are finished. With
    labels or beams, all predictions are finished at the same time.

    The arguments are those of `predict_prompts`.
    """
    if labels or generation.num_beams > 1:
        yield from predict_prompts(
            model, tokenizer, prompts, labels, generation, batch_size, seed, numbers
        )
        return
    requests = make_requests(prompts, [(seed, number) for number in numbers], generation)
    sequences = iter_completions(model, tokenizer, requests, batch_size)
    completions = map(to_prediction, sequences)
    while samples := list(islice(completions, generation.num_return_sequences)):
        yield combine_samples(samples, generation)


def stream_prediction(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    generation: Generation,
    seed: int,
    number: int,
) -> Iterator[str]:
    """Yield the text of the prediction in pieces while it is generated."""
    shown = ""
    for text in iter_text(model, tokenizer, Request(prompt, generation, (seed, number, 0))):
        text = _final_text(text, generation)
        if len(text) > len(shown):
            yield text[len(shown) :]
            shown = text


def combine_samples(samples: list[Prediction], generation: Generation) -> Prediction:
    """The first sample as the prediction, with all samples as its votes."""
    texts = [_final_text(sample.text, generation) for sample in samples]
    votes = texts if len(texts) > 1 else None
    return replace(samples[0], text=texts[0], votes=votes)


def _final_text(text: str, generation: Generation) -> str:
    return text if generation.constraint else text.strip()
