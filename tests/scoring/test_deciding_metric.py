"""The deciding metric: the recipe's or the task's first, and refused if it is undefined."""

from collections import Counter

import pytest
from rows import TEXT, write_jsonl
from runs import SHORT

from llmkit.errors import UserError
from llmkit.scoring import testset
from llmkit.scoring.deciding_metric import check_metric, choose_metric
from llmkit.tasks import TASKS


@pytest.mark.parametrize(
    ("task", "metric", "expected"),
    [
        ("reason", "majority_vote", "it needs evaluation.votes above 1"),
        ("qa", "NoAns_f1", "it needs rows with and rows without an answer"),
    ],
)
def test_a_metric_that_the_validation_rows_leave_undefined_is_refused_first(
    llmkit, tiny_gpt2, tmp_path, task, metric, expected
):
    rows = [
        {"context": f"{TEXT[i % 3]} {i}", "question": f"Who is {i}?", "answers": "Mara",
         "answer": "#### 1"}
        for i in range(60)
    ]  # fmt: skip
    write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = (
        f"model={tiny_gpt2}",
        "data.train=rows.jsonl",
        *SHORT,
        f"evaluation.metric={metric}",
    )
    for command in (("check", task), ("finetune", task, "--run-dir", "run")):
        result = llmkit(*command, *settings, f"evaluation.metric={metric}")
        assert result.exit_code == 2
        assert expected in result.stderr
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("task", "name", "expected"),
    [
        ("summarize", None, ("rougeL", True)),
        ("translate", "ter", ("ter", False)),
        ("translate", "loss", ("loss", False)),
        ("pretrain", None, ("loss", False)),
        ("classify", "calibration_error", ("calibration_error", False)),
    ],
)
def test_the_deciding_metric_is_the_named_score_or_the_first(task, name, expected):
    assert choose_metric(TASKS[task], name) == expected


def test_a_deciding_metric_that_the_task_lacks_is_refused_with_those_it_has():
    with pytest.raises(UserError, match="summarize has no score 'bleu'; it has rougeL, rouge1"):
        choose_metric(TASKS["summarize"], "bleu")


@pytest.mark.parametrize(
    ("labels", "metric", "expected"),
    [
        (["a", "b"], "auc", None),
        (["a", "a"], "auc", "all validation rows have 'a'"),
        (["a", "b"], "quadratic_kappa", "three or more labels, all of them numbers"),
        (["1", "2", "5"], "mean_absolute_error", None),
    ],
)
def test_a_metric_that_no_prediction_can_define_is_refused(labels, metric, expected):
    rows = [{"id": str(i), "text": "x", "label": label} for i, label in enumerate(labels)]
    validation = testset.TestSet.of(
        rows, TASKS["classify"], Counter(labels if "1" in labels else ["b", *labels])
    )
    if expected is None:
        check_metric(metric, validation, num_votes=1)
        return
    with pytest.raises(UserError, match=expected):
        check_metric(metric, validation, num_votes=1)
