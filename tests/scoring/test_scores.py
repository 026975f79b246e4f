"""Scores of systems: of groups of rows, of single rows, and as a confusion matrix."""

from llmkit.metrics import corpus_scores
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.scores import breakdown, by_length, row_scores
from llmkit.tasks import TASKS


def test_rows_are_grouped_by_length_and_scored_per_group():
    groups = by_length(["a " * n for n in (1, 2, 3, 5, 8, 40, 100, 101)])
    assert len(set(groups)) == 4
    assert [groups.count(name) for name in sorted(set(groups))] == [2, 2, 2, 2]
    predictions = [Prediction("x" if i % 2 else "y") for i in range(8)]
    statistics = TASKS["qa"].row_statistics(predictions, [["x"]] * 8)
    parts = breakdown(TASKS["qa"], statistics, groups)
    assert [part["label"] for part in parts] == sorted(set(groups))
    assert [part["rows"] for part in parts] == [2, 2, 2, 2]
    assert {part["scores"]["exact_match"] for part in parts} == {50}
    alone = row_scores(statistics, "exact_match")
    assert alone == [0, 100] * 4
    assert sum(alone) / 8 == corpus_scores(statistics)["exact_match"].item()
