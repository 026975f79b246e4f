"""Output files: values of any type in every format, complete or absent."""

import datetime
import errno
import json
import os
import random

import pyarrow
import pytest
from pyarrow import parquet

from llmkit.errors import UserError
from llmkit.io import row_files
from llmkit.io.row_writer import open_writer, write_rows

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
ORIGIN = {"--seed": 0, "input": "a" * 64, "temperature": 0.0}
ROWS = [
    {"id": str(i), "text": text, "score": i / 3, "probabilities": {"a, b": 0.25, "c": 0.75}}
    for i, text in enumerate(
        ['say "hi"', "two\nlines", "a\rb", "\n", '"', "", "é\t,", 'end of a line\n"', "plain"]
    )
]
COLUMNS = ["id", "text", "score", "probabilities"]


class Killed(BaseException):
    pass


def write_until(path, num_rows, fingerprint=ORIGIN):
    """Write rows as the command does until a kill; return the number of rows found."""
    with open_writer(path, COLUMNS, fingerprint) as writer:
        found = writer.num_rows
        for row in ROWS[found:num_rows]:
            writer.append(row)
        if num_rows < len(ROWS):
            raise Killed
    return found


def undisturbed(folder, suffix):
    path = folder / f"undisturbed.{suffix}"
    write_rows(path, ROWS, COLUMNS)
    return path.read_bytes()


def test_values_without_a_common_type_are_written_to_parquet(tmp_path):
    rows = [{"a": 1, "b": "x"}, {"a": "two", "b": None}, {"a": [3], "c": 2.5}]
    write_rows(tmp_path / "out.parquet", rows, ["a", "b", "c"])
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("a").to_pylist() == ["1", "two", "[3]"]
    assert table.column("b").to_pylist() == ["x", None, None]
    assert table.schema.field("c").type == pyarrow.float64()
    write_rows(tmp_path / "out.parquet", [{"a": float("nan")}, {"a": [3]}], ["a"])
    assert parquet.read_table(tmp_path / "out.parquet").column("a").to_pylist() == [None, [3]]


def test_values_without_a_json_type_are_written_to_jsonl(tmp_path):
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


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_truncated_at_any_byte_is_continued_with_each_row_once(tmp_path, suffix, request):
    is_thorough = request.config.getoption("--proof")
    expected = undisturbed(tmp_path, suffix)
    path = tmp_path / f"out.{suffix}"
    partial = tmp_path / f"out.{suffix}.partial"
    with pytest.raises(Killed):
        write_until(path, len(ROWS) - 1)
    content, record = partial.read_bytes(), partial.with_suffix(".partial.json").read_bytes()
    cuts = range(len(content) + 1)
    for cut in cuts if is_thorough else random.Random(0).sample(cuts, 20):
        partial.write_bytes(content[:cut])
        partial.with_suffix(".partial.json").write_bytes(record)
        assert write_until(path, len(ROWS)) <= len(ROWS) - 1
        assert path.read_bytes() == expected
        path.unlink()
    assert [file.name for file in tmp_path.iterdir()] == [f"undisturbed.{suffix}"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_reach_the_disk_one_by_one_and_the_file_appears_at_the_end(tmp_path, suffix):
    path, partial = tmp_path / f"out.{suffix}", tmp_path / f"out.{suffix}.partial"
    path.write_text("old")
    sizes = []
    with open_writer(path, COLUMNS, ORIGIN) as writer:
        for row in ROWS:
            writer.append(row)
            sizes.append(partial.stat().st_size)
            assert path.read_text() == "old"
    assert sizes == sorted(set(sizes))
    assert path.read_bytes() == undisturbed(tmp_path, suffix)
    assert not list(tmp_path.glob("out*.*.*"))


def test_nul_blocks_after_a_power_failure_are_removed(tmp_path):
    path = tmp_path / "out.jsonl"
    with pytest.raises(Killed):
        write_until(path, 4)
    with (tmp_path / "out.jsonl.partial").open("ab") as file:
        file.write(b"\0" * 50 + b'\n{"id": "9"}\n')
    assert write_until(path, len(ROWS)) == 4
    assert path.read_bytes() == undisturbed(tmp_path, "jsonl")


@pytest.mark.parametrize(
    ("fingerprint", "difference"),
    [
        (ORIGIN | {"--seed": 1}, "that differs in --seed (0 then, 1 now); repeat that command"),
        (ORIGIN | {"input": "b" * 64}, "that differs in input; repeat that command"),
        (ORIGIN | {"stop": ["x"]}, 'that differs in stop (null then, ["x"] now)'),
        (None, "an interrupted command; repeat that command"),
    ],
)
def test_an_unfinished_file_of_another_command_is_rejected(tmp_path, fingerprint, difference):
    path = tmp_path / "out.csv"
    with pytest.raises(Killed):
        write_until(path, 2)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UserError) as caught:
        write_until(path, 5, fingerprint)
    assert f"{path}.partial: contains 2 rows of" in str(caught.value)
    assert difference in str(caught.value)
    assert str(caught.value).endswith("delete the file, or choose another --output")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_unfinished_file_without_its_record_is_rejected_unless_it_has_no_rows(tmp_path):
    path, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    partial.write_text(json.dumps({"id": 1}) + "\n")
    with pytest.raises(
        UserError, match="contains 1 row of an interrupted command; delete the file"
    ):
        write_until(path, 2)
    partial.write_text('{"id": ')
    assert write_until(path, len(ROWS)) == 0


def test_two_processes_cannot_write_the_same_file(tmp_path):
    with open_writer(tmp_path / "out.csv", COLUMNS, ORIGIN) as writer:
        writer.append(ROWS[0])
        with pytest.raises(UserError, match="another process is writing this file"):
            write_until(tmp_path / "out.csv", 2)
        assert writer.num_rows == 1


def test_a_link_in_place_of_the_unfinished_file_is_rejected(tmp_path):
    (tmp_path / "precious").write_text("precious\n")
    (tmp_path / "out.csv.partial").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="not a regular file"):
        write_until(tmp_path / "out.csv", 2)
    assert (tmp_path / "precious").read_text() == "precious\n"


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    def rows():
        yield ROWS[0]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left") as full:
        write_rows(tmp_path / "out.csv", rows(), COLUMNS)
    assert full.value.filename == str(tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []
