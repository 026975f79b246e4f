"""Rows as lines: any value survives JSON, and any text a cell of a table."""

import csv
import datetime
import decimal
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import UserError
from llmkit.io.row_lines import (
    NUMBERED_PREDICTION,
    check_writable,
    header_line,
    json_line,
    ordered_columns,
    restore_nested,
    table_line,
)

TEXTS = st.text().map(lambda text: text.replace("\0", ""))
SPECIAL = st.sampled_from(["", '"', ",", "\t", "\r", "\n", "\r\n", ' "a", b', "=1+1", "é", " "])
CELLS = st.one_of(TEXTS, SPECIAL)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)


def cells_of(line: str, delimiter: str = ",") -> list[str]:
    """The cells of a line, as Python's reader finds them in a file."""
    (cells,) = csv.reader(io.StringIO(line, newline=""), delimiter=delimiter)
    return cells


@given(st.lists(CELLS, min_size=1, max_size=4), st.sampled_from([",", "\t"]))
def test_any_text_survives_a_cell(texts, delimiter):
    row = {f"c{number}": text for number, text in enumerate(texts)}
    line = table_line(row, list(row), delimiter)
    assert line.endswith("\n")
    assert cells_of(line, delimiter) == texts
    names = dict.fromkeys(texts, "x")
    assert cells_of(header_line(names, list(names), delimiter), delimiter) == list(names)


@given(VALUES)
def test_any_value_is_one_line_of_strict_json(value):
    line = json_line(value)
    assert "\n" not in line
    assert "\r" not in line

    def refuse(constant):
        raise AssertionError(constant)

    def finite(value):
        """The value with null in place of numbers that JSON lacks."""
        if isinstance(value, dict):
            return {name: finite(each) for name, each in value.items()}
        if isinstance(value, list):
            return list(map(finite, value))
        return None if isinstance(value, float) and not math.isfinite(value) else value

    assert json.loads(line, parse_constant=refuse) == finite(value)


def test_what_json_lacks_becomes_text():
    value = {"when": datetime.date(2026, 1, 2), "score": float("nan"), "é": float("inf")}
    assert json_line(value) == '{"when": "2026-01-02", "score": null, "é": null}'


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        (None, ""),
        (float("nan"), ""),
        (0, "0"),
        (False, "false"),
        (0.1, "0.1"),
        ([1, "é"], '[1, "é"]'),
        ({"a": None}, '{"a": null}'),
        (float("-inf"), ""),
        ("null", "null"),
        ({"when": datetime.date(2026, 1, 2)}, '{"when": "2026-01-02"}'),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02 03:04:00"),
        (datetime.timedelta(hours=1), "1:00:00"),
        (decimal.Decimal("1.50"), "1.50"),
    ],
)
def test_a_value_that_is_no_text_has_its_cell(value, cell):
    assert cells_of(table_line({"a": value, "b": "x"}, ["a", "b"], ",")) == [cell, "x"]


def test_columns_keep_their_order_and_missing_ones_their_place():
    row = {"b": "2", "d": "not written", "a": "1"}
    assert ordered_columns(row, ["a", "b", "c"]) == {"a": "1", "b": "2"}
    assert list(ordered_columns(row, ["a", "b", "c"])) == ["a", "b"]
    assert cells_of(table_line(row, ["a", "c", "b"], ",")) == ["1", "", "2"]
    assert cells_of(header_line(row, ["a", "c", "b"], ",")) == ["a", "c", "b"]


@given(
    st.dictionaries(CELLS, st.floats(0, 1), min_size=1, max_size=4),
    st.lists(CELLS, min_size=1, max_size=12),
)
def test_nested_columns_are_spread_over_a_table_and_restored(probabilities, predictions):
    row = {"id": "1", "predictions": predictions, "probabilities": probabilities}
    columns = list(row)
    header, cells = (
        cells_of(write(row, columns, ",")) for write in (header_line, table_line)
    )  # fmt: skip
    assert header[: 1 + len(predictions)] == [
        "id", *(f"prediction_{number}" for number in range(1, len(predictions) + 1)),
    ]  # fmt: skip
    restored = restore_nested(dict(zip(header, cells, strict=True)))
    assert {name: restored[name] for name in columns} == row


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("0.75", 0.75), ("0,75", 0.75), ("1e-3", 0.001), ("", None), ("many", "many"), (0.5, 0.5)],
)
def test_a_cell_with_a_probability_is_a_number_if_it_can_be_one(cell, expected):
    assert restore_nested({"probability_a": cell})["probabilities"] == {"a": expected}


def test_table_probabilities_may_have_decimal_commas():
    """As a spreadsheet in German or French writes them, between semicolons."""
    assert restore_nested({"id": "1", "probability_a": "0,75", "probability_b": "1e-3"}) == {
        "probabilities": {"a": 0.75, "b": 0.001},
        "id": "1", "probability_a": "0,75", "probability_b": "1e-3",
    }  # fmt: skip


def test_rows_without_nested_columns_stay_as_they_are():
    for row in ({"id": "1"}, {"probabilities": {"a": 1.0}}, {"prediction_0": "x"}):
        assert restore_nested(row) == row


@pytest.mark.parametrize(
    ("name", "is_numbered"),
    [("prediction_1", True), ("prediction_12", True), ("prediction_0", False),
     ("prediction_01", False), ("prediction", False), ("my_prediction_1", False)],
)  # fmt: skip
def test_numbered_predictions_begin_with_one(name, is_numbered):
    assert bool(NUMBERED_PREDICTION.fullmatch(name)) == is_numbered


@pytest.mark.parametrize("row", [{"a": "\ud800"}, {"\udc00": 1}, {"a": [{"b": "x\udfff"}]}])
def test_half_a_character_is_refused_with_its_place(row):
    with pytest.raises(UserError, match=r"^in\.jsonl:3: the row contains half a character"):
        check_writable(row, "in.jsonl:3")
    check_writable({"a": "\U0001f600"}, "in.jsonl:3")
