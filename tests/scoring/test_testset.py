"""Test sets: examples of the rows, rows without a label, settings that fit the references."""

from collections import Counter

import pytest

from llmkit.errors import UserError
from llmkit.scoring import testset
from llmkit.tasks import TASKS, to_example


def rows_of(*labels):
    return [
        {"id": str(i), "where": f"a:{i}", "text": f"text {i}", "label": label}
        for i, label in enumerate(labels)
    ]


def test_rows_without_a_label_are_left_out():
    test = testset.TestSet.of(rows_of("a", "", "b"), TASKS["classify"], Counter("ab"))
    assert [row["id"] for row in test.rows] == ["0", "2"]
    assert test.references == [["a"], ["b"]]
    assert [example.where for example in test.unlabeled] == ["a:1"]


def test_a_set_without_any_label_is_refused():
    with pytest.raises(UserError, match="a:0: no row from here on has a label"):
        testset.TestSet.of(rows_of("", ""), TASKS["classify"], Counter("ab"))


def test_labels_of_training_rows_decide_whether_labels_are_ratings():
    test = testset.TestSet.of(rows_of("1", "2"), TASKS["classify"], Counter("12345"))
    assert test.task.metrics == ("classification:ratings",)
    test = testset.TestSet.of(rows_of("1", "2"), TASKS["classify"], Counter("12"))
    assert test.task.metrics == ("classification:classes",)


def test_metrics_are_set_to_the_language_of_the_references():
    rows = [{"id": "0", "source": "The ferry left.", "target": "渡轮中午离开了港口"}]
    test = testset.TestSet.of(rows, TASKS["translate"], Counter())
    assert "bleu:zh" in test.task.metrics
    assert test.unlabeled == []


def test_examples_made_before_give_the_same_set():
    rows = rows_of("a", "", "b")
    examples = [to_example(row, TASKS["classify"]) for row in rows]
    made = testset.TestSet.of_examples(rows, examples, TASKS["classify"], Counter("ab"))
    assert made == testset.TestSet.of(rows, TASKS["classify"], Counter("ab"))
