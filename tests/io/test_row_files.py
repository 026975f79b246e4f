"""Files of every format as Excel, pandas, `datasets`, R and databases write them: each gives the
right rows, or is refused with the right advice."""

import csv
import json

import datasets
import pandas
import pytest
from written_files import (
    COMPRESS,
    ROWS,
    SUMMARIZE,
    all_rows,
    excel,
    lines_of,
)

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.io import row_files
from llmkit.io.row_files import read, read_all

PLAIN = [row for row in ROWS if "\n" not in row["document"]]


def tabs(rows):
    return [f"{row['document']}\t{row['summary']}" for row in rows]


FRAME = pandas.DataFrame(ROWS)


R_ROWS = [f'"{i}","{r["document"].replace(chr(34), chr(34) * 2)}","{r["summary"]}"'
          for i, r in enumerate(PLAIN, 1)]  # fmt: skip


# Name of the file -> how it comes about, and its rows.
READ = {
    "excel-utf8.csv": (lambda p: excel(ROWS, p), ROWS),
    "excel-sep.csv": (lambda p: excel(ROWS, p, ";", first="sep=;\r\n"), ROWS),
    "excel-semicolons.csv": (lambda p: excel(ROWS, p, ";", last=";\r\n;\r\n"), ROWS),
    "excel-unicode-text.csv": (lambda p: excel(ROWS, p, "\t", "utf-16"), ROWS),
    "utf-16-without-mark.csv": (lambda p: excel(ROWS, p, ";", "utf-16-be"), ROWS),
    "utf-16-without-mark.tsv": (lambda p: excel(ROWS, p, "\t", "utf-16-le"), ROWS),
    "utf-16-without-mark.jsonl": (
        lambda p: p.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), "utf-16-be"), ROWS
    ),
    "blanks-in-the-header.csv": (
        lambda p: p.write_bytes(b"document, summary \na, b\n"), [{"document": "a", "summary": " b"}]
    ),
    "excel-empty-columns.csv": (
        lambda p: p.write_bytes(b"document;summary;;\r\na;b;;\r\nc;d\r\n;;;\r\n;;;\r\n"),
        [{"document": "a", "summary": "b"}, {"document": "c", "summary": "d"}],
    ),
    "pandas.csv": (FRAME.to_csv, ROWS),
    "pandas-semicolons.csv": (lambda p: FRAME.to_csv(p, sep=";", encoding="utf-16"), ROWS),
    "pandas-quoted.tsv": (lambda p: FRAME.to_csv(p, sep="\t", index=False), ROWS),
    "pandas-unquoted.tsv": (
        lambda p: pandas.DataFrame(PLAIN).to_csv(
            p, sep="\t", index=False, quoting=csv.QUOTE_NONE, quotechar=None
        ),
        PLAIN,
    ),
    "pandas-pipes.csv": (lambda p: FRAME.to_csv(p, sep="|"), ROWS),
    "pandas.csv.gz": (FRAME.to_csv, ROWS),
    "pandas.csv.xz": (FRAME.to_csv, ROWS),
    "pandas-columns.json": (FRAME.to_json, ROWS),
    "pandas-index.json": (lambda p: FRAME.to_json(p, orient="index"), ROWS),
    "pandas-table.json": (lambda p: FRAME.to_json(p, orient="table"), ROWS),
    "pandas-records.json": (lambda p: FRAME.to_json(p, orient="records", indent=2), ROWS),
    "pandas-lines.json": (lambda p: FRAME.to_json(p, orient="records", lines=True), ROWS),
    "pandas.jsonl.bz2": (lambda p: FRAME.to_json(p, orient="records", lines=True), ROWS),
    "pandas.parquet": (FRAME.to_parquet, ROWS),
    "pandas.feather": (FRAME.to_feather, ROWS),
    "datasets.csv": (lambda p: datasets.Dataset.from_list(ROWS).to_csv(p), ROWS),
    "datasets.json": (lambda p: datasets.Dataset.from_list(ROWS).to_json(p), ROWS),
    "datasets.jsonl": (lambda p: datasets.Dataset.from_list(ROWS).to_json(p), ROWS),
    "r-write-csv.csv": (lambda p: lines_of(p, '"","document","summary"', *R_ROWS), PLAIN),
    "mysql-batch.tsv": (lambda p: lines_of(p, "document\tsummary", *tabs(PLAIN)), PLAIN),
    "jq.json": (lambda p: p.write_text("\n".join(json.dumps(r, indent=2) for r in ROWS)), ROWS),
    "partly-old-mac.csv": (
        lambda p: p.write_bytes(b'document,summary\ra,b\rc,"d\re"\nf,g\r\r\n"h\n",i\r\nj,k\rl,m'),
        [{"document": a, "summary": b}
         for a, b in ("ab", ("c", "d\re"), "fg", ("h\n", "i"), "jk", "lm")]
    ),
    "old-mac.csv": (lambda p: p.write_bytes(b"document,summary\ra,b\rc,d\r"), [
        {"document": "a", "summary": "b"}, {"document": "c", "summary": "d"}]),
}  # fmt: skip


REFUSED = {
    "excel-1252.csv": (
        lambda p: excel(ROWS, p, ";", "cp1252"),
        ["excel-1252.csv:5: byte 10 is not UTF-8; save the file as UTF-8", "data.encoding=cp1252"],
    ),
    "excel.xlsx": (lambda p: p.write_bytes(b"PK\3\4"), ["save the sheet as CSV UTF-8"]),
    "excel-renamed.csv": (lambda p: p.write_bytes(b"PK\3\4"), ["save it as CSV UTF-8"]),
    "pandas-split.json": (
        lambda p: FRAME.to_json(p, orient="split"),
        ['in pandas, write with to_json(orient="records")'],
    ),
    "r-write-table.csv": (
        lambda p: lines_of(p, '"document","summary"', *R_ROWS),
        ["r-write-table.csv:2: 3 fields, but the header has 2", "row.names=FALSE"],
    ),
    "r-escaped.tsv": (
        lambda p: lines_of(p, '"document"\t"summary"', '"a \\"b\\" c"\t"d"'),
        ["r-escaped.tsv:2: ", "double those inside a field"],
    ),
    "joined.csv": (
        lambda p: p.write_bytes(b"\xef\xbb\xbfdocument,summary\na,b\n" * 2),
        ["joined.csv:3: a byte order mark inside the file: files were joined here; delete"],
    ),
    "joined-unmarked.tsv": (
        lambda p: lines_of(p, *["document\tsummary", "a\tb"] * 2),
        ["joined-unmarked.tsv:3: a second header: files were joined here"],
    ),
    "ragged.csv": (
        lambda p: lines_of(p, "document;summary", "a;b", "a;b;c"),
        ["ragged.csv:3: 3 fields, but the header has 2; quote fields that hold the delimiter"],
    ),
    "twice.csv": (lambda p: lines_of(p, "document,document", "a,b"), ["two columns are named"]),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_as_common_programs_write_it_is_read(tmp_path, name):
    write, rows = READ[name]
    write(tmp_path / name)
    assert all_rows(tmp_path / name) == rows


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_correctly_is_refused_with_advice(tmp_path, name):
    write, said = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UserError) as error:
        all_rows(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}")
    assert all(part in str(error.value) for part in said)
    assert "\n" not in str(error.value)


def test_an_empty_file_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pandas.DataFrame(ROWS).to_csv("rows.csv", index=False)
    with pytest.raises(UserError, match=r"data\.train: empty file name"):
        open_splits(Data(train=""), SUMMARIZE)


def test_files_are_found_by_pattern_and_by_folder(tmp_path):
    for index, row in enumerate(ROWS):
        pandas.DataFrame([row]).to_parquet(tmp_path / f"part-{index}.parquet")
    assert all_rows(tmp_path / "part-*.parquet") == ROWS
    (tmp_path / "._part-0.parquet").write_bytes(b"\0")  # as macOS leaves on other file systems
    assert all_rows(tmp_path) == ROWS
    (tmp_path / "part-9.csv").touch()
    with pytest.raises(UserError, match="files of several splits or formats"):
        all_rows(tmp_path)
    (tmp_path / "part-9.csv").unlink()
    (tmp_path / "part-4.parquet").rename(tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"name the ones to read, such as '.*train\*.parquet'"):
        all_rows(tmp_path)


def test_two_stars_in_a_pattern_stand_for_folders_of_any_depth(tmp_path):
    for index, row in enumerate(ROWS):
        folder = tmp_path.joinpath("texts", *"abcdef"[:index])
        folder.mkdir(parents=True, exist_ok=True)
        pandas.DataFrame([row]).to_parquet(folder / f"{index}.parquet")
    assert sorted(all_rows(tmp_path / "texts" / "**" / "*.parquet"), key=ROWS.index) == ROWS
    with pytest.raises(
        UserError, match=r"no data files in this folder; name .* '.*/\*\*/\*.jsonl'"
    ):
        all_rows(tmp_path)


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "txt"])
def test_every_text_format_is_read_compressed(tmp_path, kind, suffix):
    content = {
        "jsonl": b'{"text": "a"}\n{"text": "b"}\n',
        "json": b'[{"text": "a"}, {"text": "b"}]',
        "csv": b"text,n\na,1\nb,2\n",
        "tsv": b"text\tn\na\t1\nb\t2\n",
        "txt": b"a\n\nb\n",
    }[kind]
    compress = COMPRESS[suffix]
    path = tmp_path / f"rows.{kind}{suffix}"
    path.write_bytes(compress(content))
    assert [row["text"] for _, row in read(path)] == ["a", "b"]
    if suffix and kind != "json":  # as `cat` joins compressed files
        path.write_bytes(compress(content) + compress(content.replace(b"text", b"more")))
        assert len(list(read_all(path))) > 2
    path.write_bytes(compress(content * 50)[:-9])
    if suffix:
        with pytest.raises(UserError, match=r"not readable as .*; compress or download"):
            list(read(path))


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        ("One.\nTwo.\n" * 9, "paragraph", "a paragraph of more than 50 B; if each line is a text"),
        ("One. Two. " * 9, "paragraph", "a line of more than 50 B; break it up"),
        ("One. Two. " * 9, "line", "a line of more than 50 B; break it up"),
    ],
)
def test_a_text_that_is_too_long_is_refused_with_advice(tmp_path, monkeypatch, text, rows, said):
    monkeypatch.setattr(row_files, "MAX_TEXT_CHARACTERS", 50)
    path = tmp_path / "texts.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=f":1: {said}"):
        list(read_all(path, rows=rows))
    assert list(read_all(path, rows="document"))
