"""Predictions for encoded prompts: stripped text, votes, or a label with probabilities."""

import pytest

from llmkit.config.generation import Generation
from llmkit.generation.generate import generate
from llmkit.generation.label_likelihood import label_probabilities
from llmkit.generation.predict import predict_prompts
from llmkit.model.load import load_model

PROMPTS = [[5, 6, 7], [9] * 20, [8]]
LABELS = {"one": [40, 2], "two": [41, 42, 2]}


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


def test_the_most_likely_label_is_predicted(loaded):
    predictions = predict_prompts(*loaded, PROMPTS, LABELS, Generation(), 2, 0, range(3))
    expected = label_probabilities(loaded[0], PROMPTS, LABELS, 2)
    assert [prediction.probabilities for prediction in predictions] == expected
    for prediction in predictions:
        best = max(prediction.probabilities.values())
        assert prediction.probabilities[prediction.text] == best
        assert (prediction.votes, prediction.ended) == (None, None)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_several_samples_become_the_votes_of_a_prediction(loaded, num_samples):
    settings = Generation(max_new_tokens=6, temperature=1.0, num_return_sequences=num_samples)
    predictions = predict_prompts(*loaded, PROMPTS, {}, settings, 2, 7, range(3))
    for prediction, samples in zip(
        predictions, generate(*loaded, PROMPTS, settings, 2, 7), strict=True
    ):
        texts = [sample.text.strip() for sample in samples]
        assert prediction.text == texts[0]
        assert prediction.votes == (texts if num_samples > 1 else None)
        assert prediction.ended == samples[0].ended
        assert prediction.probabilities is None
