"""Predictions for encoded prompts: generated text, or the likeliest of a classifier's labels."""

from collections.abc import Iterable
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.generation.generate import generate
from llmkit.generation.label_likelihood import label_probabilities
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
    """The prediction for each prompt: a label, or generated text without surrounding white space.

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
    predictions = []
    for samples in generate(model, tokenizer, prompts, generation, batch_size, seed, numbers):
        texts = [sample.text.strip() for sample in samples]
        votes = texts if len(texts) > 1 else None
        predictions.append(replace(samples[0], text=texts[0], votes=votes))
    return predictions
