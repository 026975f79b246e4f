"""Classification scores: scikit-learn's, to the last digit that is printed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from llmkit.metrics import scores_of, tally
from llmkit.prediction import Prediction
from llmkit.tasks import TASKS

score = TASKS["classify"].score


def drawn(seed, num_rows, num_labels):
    """Labels and probabilities, some of them tied, of a system that is better than chance."""
    generator = np.random.default_rng(seed)
    true = np.concatenate([np.arange(num_labels), generator.integers(num_labels, size=num_rows)])
    logits = generator.normal(size=(len(true), num_labels)).round(1)
    logits[np.arange(len(true)), true] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return true, probabilities


def likeliest(probabilities):
    """Predictions that choose the label with the highest probability."""
    return [Prediction(max(each, key=each.get), each) for each in probabilities]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(5, 80), st.integers(2, 5))
def test_scores_are_scikit_learns(seed, num_rows, num_labels):
    true, probabilities = drawn(seed, num_rows, num_labels)
    names = [f"label {i}" for i in range(num_labels)]
    predictions = likeliest([dict(zip(names, row, strict=True)) for row in probabilities.tolist()])
    ours = score(predictions, [[names[i]] for i in true])
    chosen = probabilities.argmax(1)
    theirs = roc_auc_score(
        true, probabilities[:, 1] if num_labels == 2 else probabilities, multi_class="ovr"
    )
    assert ours["accuracy"] == pytest.approx(100 * accuracy_score(true, chosen), rel=1e-12)
    assert ours["macro_f1"] == pytest.approx(100 * f1_score(true, chosen, average="macro"))
    assert ours["auc"] == pytest.approx(100 * theirs, rel=1e-9)


def test_weights_are_rows_that_stand_several_times():
    true, probabilities = drawn(0, 40, 3)
    predictions = likeliest([dict(zip("abc", row, strict=True)) for row in probabilities.tolist()])
    references = [["abc"[i]] for i in true]
    counts = np.random.default_rng(1).integers(0, 3, size=len(true))
    weighted = scores_of(
        {"classification": tally("classification", predictions, references)},
        counts[None].astype(float),
    )
    repeated = np.repeat(np.arange(len(true)), counts)
    expected = score([predictions[i] for i in repeated], [references[i] for i in repeated])
    for name, value in expected.items():
        assert weighted[name].item() == pytest.approx(value)


def test_calibration_error_by_hand():
    predictions = likeliest([{"a": 0.9, "b": 0.1}] * 4 + [{"a": 0.3, "b": 0.7}] * 2)
    references = [["a"]] * 3 + [["b"]] * 2 + [["a"]]
    error = score(predictions, references)["calibration_error"]
    # 4 rows at 90 %, 3 of them right; 2 rows at 70 %, 1 right.
    assert error == pytest.approx(100 * (4 * abs(0.9 - 0.75) + 2 * abs(0.7 - 0.5)) / 6)


def test_labels_alone_have_no_probabilities_to_score():
    scores = score([Prediction("a"), Prediction("b")], [["a"], ["a"]])
    assert scores["accuracy"] == 50
    assert np.isnan(scores["auc"])
    assert np.isnan(scores["calibration_error"])
