"""Parquet files: values of any type get the types that pyarrow infers, for any row groups."""

import datetime
import decimal
import math

import pyarrow
import pytest
from pyarrow import parquet

from llmkit.io import parquet_rows
from llmkit.io.parquet_rows import read_typed_line, typed_line, write_parquet

UTC = datetime.timezone.utc
VALUES = [
    None, True, 3, 2**60, 0.1, math.inf, -math.inf, "text \U0001f30a", [1, [2]], {"a": {"b": None}},
    datetime.date(2026, 1, 2), datetime.time(3, 4, 5), datetime.timedelta(seconds=1.5),
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.datetime(2026, 1, 2, tzinfo=UTC),
    decimal.Decimal("1.50"), b"\0\xff",
    {"list": [datetime.date(2026, 1, 2), None]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_typed_line_restores_the_value(value):
    line = typed_line({"value": value})
    assert "\n" not in line
    restored = read_typed_line(line.encode())["value"]
    assert (restored, type(restored)) == (value, type(value))


def test_nan_is_restored_and_unknown_types_become_texts():
    row = read_typed_line(typed_line({"nan": math.nan, "other": object}).encode())
    assert math.isnan(row["nan"])
    assert row["other"] == str(object)


def test_an_input_value_that_looks_like_a_typed_value_is_kept():
    row = {"a": {parquet_rows.ARROW: "not Arrow"}, "b": {parquet_rows.ARROW: 3}}
    assert read_typed_line(typed_line(row).encode()) == row


@pytest.mark.parametrize("rows_per_group", [1, 2, 100])
@pytest.mark.parametrize(
    "values",
    [
        [None, None, 1, 2.5], [1, 2, None], ["a", None, "b"], [[1], [], [2.5]], [True, None],
        [{"a": 1}, {"a": None}, {"b": "x"}], [datetime.date(2026, 1, 2), None], [None, None],
        [b"a", None], [decimal.Decimal("1.5"), decimal.Decimal("10.25")],
    ],
    ids=repr,
)  # fmt: skip
def test_column_types_equal_those_of_all_values_at_once(
    tmp_path, monkeypatch, values, rows_per_group
):
    monkeypatch.setattr(parquet_rows, "ROWS_PER_GROUP", rows_per_group)
    expected = pyarrow.array(values)
    write_parquet(tmp_path / "out.parquet", lambda: iter([{"v": v} for v in values]), ["v"])
    column = parquet.read_table(tmp_path / "out.parquet").column("v")
    assert column.type == expected.type
    assert column.to_pylist() == expected.to_pylist()


@pytest.mark.parametrize("rows_per_group", [1, 2, 100])
@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, "two", [3], None], ["1", "two", "[3]", None]),
        ([True, 2, "x"], ["true", "2", "x"]),
        ([2**70, 1], [str(2**70), "1"]),
        ([{"a": 1}, "b"], ['{"a": 1}', "b"]),
    ],
)
def test_values_without_a_common_type_become_json(
    tmp_path, monkeypatch, values, texts, rows_per_group
):
    monkeypatch.setattr(parquet_rows, "ROWS_PER_GROUP", rows_per_group)
    write_parquet(tmp_path / "out.parquet", lambda: iter([{"v": v} for v in values]), ["v", "w"])
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("v").to_pylist() == texts
    assert table.column("w").to_pylist() == [None] * len(values)
