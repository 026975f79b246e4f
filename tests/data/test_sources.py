"""Sources of rows: files of every kind, and errors with file and line."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import summary_rows, write_jsonl

from llmkit.config.schema import Data
from llmkit.data.columns import select_columns
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.tasks import get_task

SUMMARIZE, QA = get_task("summarize"), get_task("qa")


def write_rows(path, rows):
    match path.suffix:
        case ".jsonl":
            write_jsonl(path, rows)
        case ".json":
            path.write_text(json.dumps({"version": 1, "data": rows}))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case _:
            with path.open("w", newline="") as file:
                delimiter = "\t" if path.suffix == ".tsv" else ","
                writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
                writer.writeheader()
                writer.writerows(rows)
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, suffix):
    rows = [
        {"id": "a", "document": 'Über, "quoted"\nand\ttabbed', "summary": "one"},
        {"id": "b", "document": "two", "summary": "zwei €"},
    ]
    path = write_rows(tmp_path / f"rows{suffix}", rows)
    splits = open_splits(Data(train=path, validation=path, test=path), SUMMARIZE)
    for _ in range(2):  # a split can be read again
        for split in splits.values():
            read = [dict(row) for row in split]
            assert all(row.pop("where").startswith(path) for row in read)
            assert read == rows


def test_the_location_of_a_row_is_its_first_line(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('document,summary\n"two\nlines",s\n\nd\nd,s\n')
    splits = open_splits(Data(train=str(path), validation=str(path), test=str(path)), SUMMARIZE)
    read = list(splits["train"].read_all())
    assert [row["where"] for row in read if not isinstance(row, UserError)] == [
        f"{path}:2",
        f"{path}:6",
    ]
    assert str(read[1]).startswith(f"{path}:5: 1 field, but the header has 2")


def test_rows_after_a_broken_one_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"{\n" + b'{"document": "\xff"}\n' + b"[]\n" + b'{"a": 1}\n' + GOOD)
    splits = open_splits(Data(train=str(path), validation=str(path), test=str(path)), SUMMARIZE)
    read = list(splits["train"].read_all())
    assert [isinstance(row, UserError) for row in read] == [False, True, True, True, True, False]
    assert all(str(row).startswith(f"{path}:{n}: ") for n, row in enumerate(read[1:5], 2))


def test_each_paragraph_of_a_txt_file_is_a_row(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n\nFirst line,\nsecond line.\n \nNext paragraph.")
    splits = open_splits(
        Data(train=str(path), validation=str(path), test=str(path)), get_task("pretrain")
    )
    assert [row["text"] for row in splits["train"]] == [
        "First line,\nsecond line.",
        "Next paragraph.",
    ]


def test_nested_columns_and_lists_of_references():
    raw = {"context": "c", "question": "q", "answers": {"text": ["x", "y"], "answer_start": [1, 2]}}
    row = select_columns(raw, QA, {"answers": "answers.text"}, "here")
    assert row["answers"] == ["x", "y"]
    raw["answers"] = [{"text": "x"}, {"text": "y"}]
    assert select_columns(raw, QA, {"answers": "answers.text"}, "here")["answers"] == ["x", "y"]


GOOD = b'{"document": "d", "summary": "s"}\n'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", GOOD + b'\n{"document": "d" "s"}\n', ":3: broken JSON at column 18"),
        ("a.jsonl", GOOD + b"[1, 2]\n", ":2: a row is a JSON object with columns, not list"),
        ("a.jsonl", GOOD + b'{"document": "\xff"}\n', ":2: byte 15 is not UTF-8"),
        ("a.jsonl", b"[" * 100_000 + b"\n", ":1: "),
        ("a.jsonl", b'{"document": "d"}\n', ":1: no column 'summary'; the columns are: document"),
        ("a.jsonl", b'{"document": 5, "summary": "s"}\n', "must hold a text, not int"),
        ("a.jsonl", b'{"document": "d", "summary": [1]}\n', "must hold a text, not int"),
        ("a.jsonl", b"", "the train split has no rows"),
        ("a.jsonl", b"\n\n", "the train split has no rows"),
        ("a.json", b'{"document": "d"}', "row 0: no column 'summary'; the columns are: document"),
        ("a.json", b'[\n{"document": }]', ":2: broken JSON"),
        ("a.csv", b"document,summary\nd,s\nd,s,t\n", ":3: 3 fields, but the header has 2"),
        ("a.csv", b'document,summary\n"d,s\n', "a.csv:"),
        ("a.tsv", b"document\nd\n", ":2: no column 'summary'"),
        ("a.parquet", b"PAR1 not really", "not a readable parquet file"),
        ("a.xlsx", b"", "unknown file format"),
        (None, b"", "no such file"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, name, content, expected):
    path = tmp_path / (name or "missing.jsonl")
    if name:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(
            open_splits(Data(train=str(path), validation=str(path), test=str(path)), SUMMARIZE)[
                "train"
            ]
        )
    assert str(error.value).startswith(str(path))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_line_far_down_is_named_when_it_is_read(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(500))
    with path.open("ab") as file:
        file.write(b"{broken\n")
    splits = open_splits(Data(train=str(path), validation=str(path), test=str(path)), SUMMARIZE)
    with pytest.raises(UserError, match=r"rows\.jsonl:501: broken JSON"):
        list(splits["train"])


@given(st.lists(st.dictionaries(st.sampled_from(["document", "summary"]), st.text()), min_size=1))
def test_any_text_can_be_read_from_jsonl(tmp_path_factory, rows):
    rows = [{"document": "", "summary": "", **row} for row in rows]
    path = write_jsonl(tmp_path_factory.mktemp("any") / "rows.jsonl", rows)
    split = open_splits(Data(train=str(path), validation=str(path), test=str(path)), SUMMARIZE)
    assert [{k: r[k] for k in ("document", "summary")} for r in split["train"]] == rows
