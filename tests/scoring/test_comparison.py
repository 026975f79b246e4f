"""A model next to the untuned model and the baselines on the same rows."""

from collections import Counter

import pytest

from llmkit.metrics.prediction import Prediction
from llmkit.scoring import testset
from llmkit.scoring.comparison import compare_on_test_sets, differences_from
from llmkit.scoring.deciding_metric import DecidingMetric
from llmkit.scoring.scores import score_predictions
from llmkit.tasks import TASKS

METRIC = DecidingMetric("rougeL", True)


@pytest.fixture
def scored_rows():
    rows = [
        {"id": str(i), "document": f"Mara left at {i}. Otto slept. Jo ran. Ed sat.",
         "summary": f"Mara left at {i}."}
        for i in range(12)
    ]  # fmt: skip
    return testset.TestSet.of(rows, TASKS["summarize"], Counter())


def system(test, text):
    predictions = [Prediction(text)] * len(test.rows)
    statistics = test.task.row_statistics(predictions, test.references)
    return score_predictions(test.task, statistics, predictions)


def test_the_main_system_is_compared_with_the_untuned_one_and_the_baselines(scored_rows):
    systems = {"untuned": {"test": system(scored_rows, "Otto")},
               "mine": {"test": system(scored_rows, "Mara left at 3.")}}  # fmt: skip
    results = compare_on_test_sets({"test": scored_rows}, systems, "mine", METRIC)["test"]
    assert list(results.systems)[:2] == ["untuned", "mine"]
    assert {"lead-1", "lead-3", "random-3"} < set(results.systems)
    assert results.main_system is systems["mine"]["test"]
    difference = results.differences["rougeL"]
    expected = results.scores["mine"]["rougeL"] - results.scores["untuned"]["rougeL"]
    assert difference.difference == pytest.approx(expected)
    assert difference.p < 0.01
    assert results.verdict.startswith("ROUGE-L ")
    assert "over the untuned model" in results.verdict
    assert "worse than the baseline lead-1 (100.0)" in results.verdict


def test_without_the_untuned_model_there_is_no_difference(scored_rows):
    for main in ("mine", "untuned"):
        systems = {main: {"test": system(scored_rows, "Mara")}}
        results = compare_on_test_sets({"test": scored_rows}, systems, main, METRIC)["test"]
        assert results.differences == {}


def test_systems_whose_rows_differ_are_not_compared(scored_rows):
    fewer = testset.TestSet.of(scored_rows.rows[:11], TASKS["summarize"], Counter())
    assert differences_from(system(fewer, "Mara"), system(scored_rows, "Mara")) == {}
