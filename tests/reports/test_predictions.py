"""Predictions as printed lines and as rows of an output file."""

import json

import pytest

from llmkit.generation.prompts import Prompt
from llmkit.metrics.prediction import Prediction
from llmkit.reports.predictions import (
    MAX_LABELS,
    output_columns,
    output_row,
    print_labels,
    print_prediction,
)
from llmkit.runtime.console import make_console
from llmkit.tasks import Segment

PROMPT = Prompt("7", "in.jsonl:1", [Segment("A ferry.")], {"text": "A ferry.", "stars": 2})


@pytest.mark.parametrize(
    ("prediction", "lines"),
    [
        (Prediction("It left."), ["It left."]),
        (Prediction("a", votes=["a", "b"]), ["[1] a", "[2] b"]),
        (Prediction("good", {"bad": 0.25, "good": 0.75}), ["good\t0.7500"]),
    ],
)
def test_a_prediction_is_printed_as_text_or_as_its_output_row(capsys, prediction, lines):
    print_prediction(PROMPT, prediction, as_json=False)
    assert capsys.readouterr().out.splitlines() == lines
    print_prediction(PROMPT, prediction, as_json=True)
    assert json.loads(capsys.readouterr().out) == output_row(PROMPT, prediction)


def test_labels_are_printed_from_the_likeliest_down(capsys):
    labels = {f"label {n}": n / 100 for n in range(MAX_LABELS + 3)}
    print_labels(labels, make_console(), "; --output FILE writes all")
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [f"label {n}" for n in range(12, 2, -1)]
    assert last == "3 more labels; --output FILE writes all"


@pytest.mark.parametrize("is_table", [True, False])
def test_tables_omit_what_repeats_the_input(is_table):
    columns = output_columns(
        ["text", "stars"], has_labels=False, has_votes=True, has_references=True, is_table=is_table
    )
    repeated = [] if is_table else ["prompt"]
    end = [] if is_table else ["references"]
    assert columns == ["id", "text", "stars", *repeated, "prediction", "predictions", *end]


def test_an_input_column_is_neither_repeated_nor_moved():
    columns = output_columns(
        ["prompt", "id"], has_labels=True, has_votes=False, has_references=False, is_table=False
    )
    assert columns == ["prompt", "id", "prediction", "probabilities"]
