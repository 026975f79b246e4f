"""Predictions and samples on the report page, cut to page size."""

import pytest

from llmkit.metrics.prediction import Prediction
from llmkit.reports.html_predictions import MAX_SAMPLE_STEPS, samples_by_step, select_predictions
from llmkit.scoring.results import SavedPrediction


def test_the_best_and_the_worst_predictions_are_shown_with_texts_cut_to_page_size():
    rows = [
        SavedPrediction(str(i), "p" * 10**5, Prediction("x"), ["y"], score=i) for i in range(100)
    ]
    shown = select_predictions(rows, higher_is_better=True)
    assert [row["score"] for row in shown["best"]] == list(range(99, 89, -1))
    assert [row["score"] for row in shown["worst"]] == list(range(10))
    assert all(len(row["prompt"]) < 5000 for each in shown.values() for row in each)
    assert select_predictions(rows, higher_is_better=False)["best"][0]["score"] == 0


def samples(*steps):
    """Lines of samples.jsonl: two samples with the same id at each of these steps."""
    return [
        {"step": step, "id": "7", "prompt": name * 10**4, "references": [name],
         "prediction": f"{name}{step}", "probability": 0.5}
        for step in steps for name in "ab"
    ]  # fmt: skip


@pytest.mark.parametrize("num_validations", [1, 2, MAX_SAMPLE_STEPS, 9, 100])
def test_samples_of_the_first_the_last_and_some_other_validations_are_shown(num_validations):
    steps = [10 * (number + 1) for number in range(num_validations)]
    table = samples_by_step(samples(*steps))
    shown = table["steps"]
    assert table["num_validations"] == num_validations
    assert len(shown) == len(set(shown)) == min(num_validations, MAX_SAMPLE_STEPS)
    assert (shown[0], shown[-1]) == (steps[0], steps[-1])
    for row, name in zip(table["rows"], "ab", strict=True):
        assert row["references"] == [name]
        assert len(row["prompt"]) < 5000
        assert [each["text"] for each in row["predictions"]] == [f"{name}{step}" for step in shown]


def test_samples_that_are_still_being_written_have_no_prediction():
    first, second = samples_by_step(samples(1, 2)[:3])["rows"]
    assert [each["text"] for each in first["predictions"]] == ["a1", "a2"]
    assert [second["predictions"][0]["text"], second["predictions"][1]] == ["b1", None]
    assert samples_by_step([])["rows"] == []
