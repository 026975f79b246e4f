"""What is wrong with an export, and how it is scored."""

from dataclasses import replace

import numpy as np
import pytest
from exported import original_of, tuned_run

from llmkit.export.formats import EXACT, Bounds
from llmkit.export.verification import (
    compare_outputs,
    exceeded,
    kl_divergence,
    logit_differences,
    percent_identical,
    predicted_labels,
    problems,
    system_result,
)


@pytest.fixture
def outputs(full):
    return full.original.outputs


def test_the_original_has_no_problems(full, outputs):
    assert problems(outputs, outputs) == []
    figures = full.original.compare(outputs, 7)
    assert (figures.logit_difference, figures.logit_error, figures.identical_texts) == (0, 0, 100)
    assert (figures.num_bytes, figures.change.difference) == (7, 0)
    assert exceeded(figures, EXACT) == []


def test_problems_are_named(outputs):
    changed = replace(outputs, end_tokens=[0, 5])
    assert problems(changed, outputs) == ["completions end at token 0 or 5 instead of 0"]
    tokens = [outputs.tokenized_texts[0][::-1], *outputs.tokenized_texts[1:]]
    (reason,) = problems(replace(outputs, tokenized_texts=tokens), outputs)
    assert reason == f"1 of {len(tokens)} texts are tokenized differently"
    fewer = replace(outputs, log_probabilities=outputs.log_probabilities[:, 1:])
    (reason,) = problems(fewer, outputs)
    assert reason == "the vocabulary has 319 tokens instead of 320"
    found = outputs.log_probabilities.copy()
    found[0] = np.nan
    (reason,) = problems(replace(outputs, log_probabilities=found), outputs)
    assert reason == "some logits are NaN or infinite"


def test_figures_beyond_their_bounds_are_named(full, outputs):
    found = outputs.log_probabilities.copy()
    found[1, 2] -= 3
    texts = ["", *outputs.completions[1:]]
    figures = full.original.compare(replace(outputs, log_probabilities=found, completions=texts), 1)
    spread = outputs.log_probabilities - outputs.log_probabilities.mean(-1, keepdims=True)
    expected = 3 / np.sqrt(np.square(spread).sum())
    assert figures.logit_error == pytest.approx(expected, rel=1e-3)
    assert figures.logit_difference == pytest.approx(3, rel=1e-3)
    assert figures.identical_texts == 75
    bounds = Bounds(logit_error=expected / 2, kl=1e-9, logit_difference=2.9, identical_texts=76)
    reasons = exceeded(figures, bounds)
    assert [reason.split()[0] for reason in reasons] == ["the", "the", "a", "75.0%"]
    assert exceeded(figures, Bounds(logit_error=2 * expected, kl=1)) == []


def test_tokens_of_unknown_probability_are_not_compared(outputs):
    every = outputs.log_probabilities
    found = every.copy()
    found[:, ::2] = np.nan
    assert logit_differences(found, every) == (0, 0)
    found[0, 1] -= 2
    difference, error = logit_differences(found, every)
    assert difference == pytest.approx(2, rel=1e-3)
    assert error > 0


def test_the_divergence_is_that_of_kullback_and_leibler():
    original, other = np.array([[0.7, 0.2, 0.1]]), np.array([[0.5, 0.25, 0.25]])
    expected = (original * np.log(original / other)).sum()
    assert kl_divergence(np.log(other), np.log(original)) == pytest.approx(expected)
    assert kl_divergence(np.log(original), np.log(original)) == 0


def test_log_probabilities_below_the_range_of_single_precision_are_clipped():
    original = np.array([[-1.0, -90.0, -200.0]])
    assert logit_differences(np.array([[-1.0, -3e38, -120.0]]), original) == (0, 0)


def test_an_error_of_the_weights_is_named(full, outputs):
    figures = replace(full.original.compare(outputs, 1), weight_error=0.3)
    (reason,) = exceeded(figures, Bounds(logit_error=1, kl=1, weight_error=0.2))
    assert reason == "the error of the weights of a layer is 30% (at most 20%)"
    assert exceeded(figures, Bounds(logit_error=1, kl=1, weight_error=0.4)) == []


def test_texts_end_before_their_stop_string(full, outputs):
    original = full.original
    texts = [f" {text} END and more" for text in outputs.completions]
    longer = replace(outputs, completions=texts)
    figures = compare_outputs(longer, longer, original.test, ["END"], original.metric, 1)
    plain = original.compare(outputs, 1)
    assert figures.score == pytest.approx(plain.score)


def test_labels_are_those_that_the_evaluation_predicts(tiny_gpt2, tmp_path, llmkit):
    run = tuned_run("classify", tiny_gpt2, tmp_path)
    found = original_of(run)
    result = system_result(found.original.test, found.original.outputs, [])
    from llmkit.scoring.results import read_results, read_saved_predictions

    saved = read_saved_predictions(run)
    predictions = predicted_labels(found.original.test, found.original.outputs)
    assert [each.text for each in predictions] == [each.prediction.text for each in saved]
    for one, other in zip(predictions, saved, strict=True):
        assert one.probabilities == pytest.approx(other.prediction.probabilities, abs=1e-5)
    scores = read_results(run).scores["fine-tuned"]
    assert result.scores == pytest.approx({name: scores[name] for name in result.scores}, rel=1e-4)


def test_texts_are_scored_as_the_evaluation_scores_them(full):
    from llmkit.scoring.results import read_results, read_saved_predictions

    run = full.source.run
    saved = [each.prediction.text for each in read_saved_predictions(run)]
    result = system_result(full.original.test, full.original.outputs, [])
    assert [each.text for each in result.predictions] == saved
    scores = read_results(run).scores["fine-tuned"]
    assert result.scores == pytest.approx({name: scores[name] for name in result.scores})


def test_plain_texts_have_the_bits_per_byte_of_the_evaluation(tiny_gpt2, tmp_path):
    from llmkit.scoring.results import read_results

    run = tuned_run("pretrain", tiny_gpt2, tmp_path)
    found = original_of(run)
    result = system_result(found.original.test, found.original.outputs, [])
    scores = read_results(run).scores["fine-tuned"]
    # Of 128 tokens in a block, 32 are scored.
    assert result.scores["bits_per_byte"] == pytest.approx(scores["bits_per_byte"], rel=0.1)


def test_identical_texts_are_counted_in_percent():
    assert percent_identical(["a", "b", "c", "d"], ["a", "b", "c", "e"]) == 75
