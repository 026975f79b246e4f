"""Predictions for encoded prompts: generated text, or the likeliest of a classifier's labels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.generation.generate import (
    generate,
    iter_completions,
    iter_text,
    requests_of,
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
    """The prediction for each prompt: a label, or generated text, without surrounding white space
    unless it has to meet a constraint.

    Args:
        prompts: Token ids of each prompt.
        labels: Token ids of each label to choose from; if empty, text is generated.
        generation: How text is decoded; several sequences become the prediction's votes.
        batch_size: Prompts per forward pass.
        seed: Determines, together with a prompt's number, what is sampled for it.
        numbers: The number of each prompt.
    """
    if labels:
        chosen = label_probabilities(model, prompts, labels, batch_size)
        return [Prediction(max(row, key=row.get), row) for row in chosen]
    samples = generate(model, tokenizer, prompts, generation, batch_size, seed, numbers)
    return [_combine(of_prompt, generation) for of_prompt in samples]


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
    """The prediction for each prompt, as soon as it and all earlier ones are finished. Labels and
    beams are finished together.

    Args: see `predict_prompts`.
    """
    if labels or generation.num_beams > 1:
        yield from predict_prompts(
            model, tokenizer, prompts, labels, generation, batch_size, seed, numbers
        )
        return
    requests = requests_of(prompts, [(seed, number) for number in numbers], generation)
    sequences = iter_completions(model, tokenizer, requests, batch_size)
    completions = map(to_prediction, sequences)
    while samples := list(islice(completions, generation.num_return_sequences)):
        yield _combine(samples, generation)


def stream_prediction(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    generation: Generation,
    seed: int,
    number: int,
) -> Iterator[str]:
    """Pieces of the generated text as it grows, which together are the text of the prediction."""
    shown = ""
    for text in iter_text(model, tokenizer, Request(prompt, generation, (seed, number, 0))):
        text = _final_text(text, generation)
        if len(text) > len(shown):
            yield text[len(shown) :]
            shown = text


def _combine(samples: list[Prediction], generation: Generation) -> Prediction:
    """The first of several samples; all of them are its votes."""
    texts = [_final_text(sample.text, generation) for sample in samples]
    votes = texts if len(texts) > 1 else None
    return replace(samples[0], text=texts[0], votes=votes)


def _final_text(text: str, generation: Generation) -> str:
    return text if generation.constraint else text.strip()
