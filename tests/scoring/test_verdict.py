"""The outcome of an evaluation in one sentence."""

import pytest

from llmkit.scoring.deciding_metric import DecidingMetric
from llmkit.scoring.significance import Difference
from llmkit.scoring.verdict import verdict

SURE = Difference(80.12, 78.0, 82.0, 0.0001, 3.0)
UNSURE = Difference(-0.8, -3.0, 1.0, 0.4213, 3.0)
FEW = Difference(5.0)


@pytest.mark.parametrize(
    ("metric", "higher", "scores", "difference", "expected"),
    [
        (
            "rougeL", True, {"fine-tuned": 99.21, "untuned": 19.09, "lead-3": 33.3}, SURE,
            "ROUGE-L 99.2, +80.1 over the untuned model, p < 0.001",
        ),
        (
            "accuracy", True, {"fine-tuned": 60.2, "untuned": 61.0}, UNSURE,
            "accuracy 60.2, -0.80 against the untuned model, p = 0.421 (no clear difference)",
        ),
        (
            "loss", False, {"fine-tuned": 2.3, "untuned": 3.5}, Difference(-1.2, -2, -1, 0.01, 1),
            "loss 2.30, -1.20 against the untuned model (lower is better), p = 0.010",
        ),
        (
            "accuracy", True, {"fine-tuned": 30.0, "untuned": 30.0}, Difference(0.0, -5, 5, 1.0, 3),
            "accuracy 30.0, the same as the untuned model, p = 1.000 (no clear difference)",
        ),
        (
            "exact_match", True, {"fine-tuned": 45.0, "untuned": 40.0}, FEW,
            "exact match 45.0, +5.00 over the untuned model, "
            "too few test rows for a significance test (at least 10)",
        ),
        (
            "rougeL", True,
            {"this model": 20.0, "this model, unconstrained": 25.0, "untuned": 19.0, "copy": 24.0},
            FEW,
            "ROUGE-L 20.0, +5.00 over the untuned model, too few test rows for a significance test "
            "(at least 10), 25.0 without its constraint, worse than the baseline copy (24.0)",
        ),
        (
            "macro_f1", True, {"these predictions": 30.0, "majority label": 41.5}, None,
            "macro-F1 30.0, worse than the baseline majority label (41.5)",
        ),
        ("ter", False, {"fine-tuned": 80.0, "copy": 70.0}, None,
         "TER 80.0, worse than the baseline copy (70.0)"),
        ("ter", False, {"fine-tuned": 60.0, "copy": 70.0}, None, "TER 60.0"),
        ("rougeL", True, {"fine-tuned": 30.0, "best of the references, 9 rows": 50.0}, None,
         "ROUGE-L 30.0"),
        ("perplexity", False, {"this model": 1234.5}, None, "perplexity 1,234"),
    ],
)  # fmt: skip
def test_verdict_names_score_difference_and_better_baseline(
    metric, higher, scores, difference, expected
):
    main = next(iter(scores))
    scores = {label: {metric: value} for label, value in scores.items()}
    for order in (1, -1):  # which does not tell which system is the main one
        shown = dict(list(scores.items())[::order])
        assert verdict(DecidingMetric(metric, higher), main, shown, difference) == expected


def test_verdict_of_a_score_that_was_not_computed_says_so():
    scores = {"these predictions": {"accuracy": 50.0}}
    assert verdict(DecidingMetric("auc", True), "these predictions", scores, None) == "no AUC"
