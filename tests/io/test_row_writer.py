"""Output files: any value in every format, completely or not at all."""

import datetime

import pyarrow
import pytest
from pyarrow import parquet

from llmkit.io import row_files
from llmkit.io.row_lines import gather
from llmkit.io.row_writer import write_rows


def test_values_without_a_common_type_are_written_to_parquet(tmp_path):
    rows = [{"a": 1, "b": "x"}, {"a": "two", "b": None}, {"a": [3], "c": 2.5}]
    write_rows(tmp_path / "out.parquet", rows, ["a", "b", "c"])
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("a").to_pylist() == ["1", "two", "[3]"]
    assert table.column("b").to_pylist() == ["x", None, None]
    assert table.schema.field("c").type == pyarrow.float64()
    write_rows(tmp_path / "out.parquet", [{"a": float("nan")}, {"a": [3]}], ["a"])
    assert parquet.read_table(tmp_path / "out.parquet").column("a").to_pylist() == [None, [3]]


def test_values_that_json_lacks_are_written_to_jsonl(tmp_path):
    rows = [{"when": datetime.date(2026, 1, 2), "score": float("nan")}]
    write_rows(tmp_path / "out.jsonl", rows, ["when", "score"])
    assert (tmp_path / "out.jsonl").read_text("utf-8") == '{"when": "2026-01-02", "score": null}\n'


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_any_text_survives_a_table(tmp_path, suffix):
    texts = ['say "hi"', "a,b", "a\tb", "two\nlines", "carriage\rreturn", "\r\n", '"', "=1+1", "é"]
    rows = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    write_rows(tmp_path / f"out{suffix}", rows, ["id", "text"])
    assert [row["text"] for _, row in row_files.read(tmp_path / f"out{suffix}")] == texts


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    def rows():
        yield {"id": "0"}
        raise RuntimeError

    for name in ("out.csv", "out.jsonl", "out.json", "out.parquet"):
        (tmp_path / name).write_text("old", "utf-8")
        with pytest.raises(RuntimeError):
            write_rows(tmp_path / name, rows(), ["id"])
        assert (tmp_path / name).read_text("utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 4


def test_table_probabilities_may_have_decimal_commas():
    """As a spreadsheet in German or French writes them, between semicolons."""
    assert gather({"id": "1", "probability_a": "0,75", "probability_b": "1e-3"}) == {
        "probabilities": {"a": 0.75, "b": 0.001},
        "id": "1", "probability_a": "0,75", "probability_b": "1e-3",
    }  # fmt: skip
