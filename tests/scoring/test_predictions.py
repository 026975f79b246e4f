"""Files of predictions: forms in which they come, and what is refused."""

import json

import pytest
from rows import write_csv, write_jsonl

from llmkit.errors import UserError
from llmkit.scoring.predictions import read_predictions
from llmkit.tasks import get_task


def test_a_classifiers_predictions_may_have_other_columns_and_empty_cells(tmp_path):
    rows = [
        {"id": 1, "prediction": "a", "votes": 3, "probability_a": 1.0, "probability_b": ""},
        {"id": 2, "prediction": "b", "votes": "", "probability_a": 0.25, "probability_b": 0.75},
    ]
    path = write_csv(tmp_path / "predictions.csv", rows)
    rows = read_predictions(path, "x", get_task("classify")).values()
    assert [row.prediction.probabilities for row in rows] == [{"a": 1.0}, {"a": 0.25, "b": 0.75}]
    with pytest.raises(UserError, match="votes must be a list of texts"):
        read_predictions(path, "x", get_task("qa"))


def test_a_prediction_that_no_file_can_hold_is_refused(tmp_path):
    path = tmp_path / "said.jsonl"
    path.write_text('{"id": "1", "prediction": "\\ud800"}\n')
    with pytest.raises(UserError, match=r"said\.jsonl:1: the row contains half a character"):
        read_predictions(path, "x", get_task("qa"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"1": "pos", "b": "neg"}, {"1": "pos", "b": "neg"}),
        ({"1": 1, "2": 0}, {"1": "1", "2": "0"}),  # labels that are numbers
        ({"id": "7", "prediction": "pos"}, {"7": "pos"}),  # one row
        ({"id": 7, "prediction": 1, "probabilities": {"0": 0.2, "1": 0.8}}, {"7": "1"}),
        ({"data": [{"id": 7, "prediction": "pos"}]}, {"7": "pos"}),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_predictions_by_id_and_a_single_row_are_distinguished(tmp_path, content, expected, indent):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(content, indent=indent))
    made = read_predictions(path, "--predictions", get_task("classify"))
    assert {name: said.prediction.text for name, said in made.items()} == expected


def test_votes_in_some_rows_only_bring_a_warning(llmkit, tmp_path):
    rows = [{"id": i, "question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(12)]
    train = [{**row, "id": f"t{row['id']}", "question": f"{row['id']} + 2?"} for row in rows]
    said = [
        {"id": i, "prediction": f"#### {i}", "references": [f"#### {i + 1}"],
         "votes": [f"#### {i + 1}"] * 3}
        for i in range(12)
    ]  # fmt: skip
    some = [row if row["id"] not in (2, 3) else row | {"votes": None} for row in said]
    none = [row | {"votes": None} for row in said]
    files = {"rows": rows, "train": train, "all": said, "some": some, "none": none}
    for name, content in files.items():
        write_jsonl(tmp_path / f"{name}.jsonl", content)
    warning = ".jsonl:4: no votes in 2 of {} rows, so majority_vote is left out"
    for name, is_told in (("all", False), ("some", True), ("none", False)):
        result = llmkit(
            "evaluate", "--recipe", "reason", "--predictions", f"{name}.jsonl",
            "data.train=train.jsonl", "data.validation=rows.jsonl", "data.test=rows.jsonl",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert (warning.format(12) in result.stderr) is is_told
        assert ("majority_vote" in result.stdout) is (name == "all")
    result = llmkit("compare", "all.jsonl", "some.jsonl", "--task", "reason")
    assert warning.format(24) in result.stderr
