"""Answers of the training rows: labels to choose from, and how often each answer occurs."""

import pytest

from llmkit.data.answers import check_labels, count_answers, encode_labels
from llmkit.errors import UserError
from llmkit.tasks import get_task, to_example

CLASSIFY, REASON = get_task("classify"), get_task("reason")


def labeled(*labels):
    return [
        {"id": str(i), "where": f"rows.csv:{i + 2}", "text": "t", "text_pair": "", "label": label}
        for i, label in enumerate(labels)
    ]


def test_labels_are_counted_and_rows_without_one_left_out():
    assert count_answers(labeled("a", "b", "a", ""), CLASSIFY) == {"a": 2, "b": 1}


def test_worked_answers_are_counted_by_their_final_answer():
    answers = ["1 + 1 = 2\n#### 2", "#### 2.0", "#### 3"]
    rows = [{"id": str(i), "question": "q", "answer": text} for i, text in enumerate(answers)]
    assert count_answers(rows, REASON) == {"#### 2": 2, "#### 3": 1}


def test_nothing_is_counted_for_a_task_without_a_majority_baseline():
    assert not count_answers(iter(()), get_task("summarize"))


def test_each_label_is_encoded_as_a_completion_in_alphabetical_order(tokenizer):
    ids = encode_labels({"good", "bad"}, tokenizer)
    assert list(ids) == ["bad", "good"]
    assert all(tokens[-1] == tokenizer.eos_token_id for tokens in ids.values())
    assert [tokenizer.decode(tokens[:-1]) for tokens in ids.values()] == [" bad", " good"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [((), "no row has a label"), (("a",), "all rows have the label 'a'")],
)
def test_fewer_than_two_labels_are_refused(tokenizer, labels, expected):
    with pytest.raises(UserError, match=expected):
        encode_labels(labels, tokenizer)


def test_a_label_that_no_training_row_has_is_refused_with_the_nearest_one():
    examples = [to_example(row, CLASSIFY) for row in labeled("good", "goood")]
    with pytest.raises(UserError, match=r"rows\.csv:3: no training row has the label .*goood"):
        check_labels(examples, ["bad", "good"])
    check_labels(examples[:1], ["bad", "good"])
