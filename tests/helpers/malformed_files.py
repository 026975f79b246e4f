"""Malformed and unusual files of rows, and the message that each gets."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import llmkit.workflows.finetune  # noqa: F401  now, so that no case pays for the import

ROW = {"document": "The ferry left at noon.", "summary": "It left.", "text": "A text."}


GOOD = json.dumps(ROW).encode() + b"\n"


TABLE = b'document,summary\n"The ferry\nleft.",It left.\n'


LONG = "a" * 3_000_000


MAP = pa.map_(pa.string(), pa.string())


NO_COLUMN = "no column 'document'; the columns are:"


NO_ROWS = "the train split has no rows"


NUL = "is NUL"


BROKEN = "broken JSON at column"


OTHER_KIND = ".json holds one list of rows, .jsonl one row per line"


DIGITS = "a number with too many digits"


TWINS = "two columns are named document; rename"


DEEP = "nested too deeply"


QUOTES = "close each quote"


JOINED = "a byte order mark inside the file: files were joined here"


AGAIN = "a second header: files were joined here"


def text_of(column: str, kind: str) -> str:
    return f"column {column} must hold a text, not {kind}"


def parquet(table: pa.Table | None = None, **columns: object) -> bytes:
    """A parquet file, uncompressed, so that its texts can be found in it and damaged."""
    file = io.BytesIO()
    columns = {"document": ["The ferry left."], "summary": ["It left."], **columns}
    plain = {"compression": "none", "use_dictionary": False}
    pq.write_table(pa.table(columns) if table is None else table, file, **plain)
    return file.getvalue()


def make_closed(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    path.touch(0)


# Rows that are read as such, but do not hold what the task needs.
ROWS = {
    "no document": ({"summary": "s"}, "no column 'document'; the columns are: summary"),
    "no summary": ({"document": "d"}, "no column 'summary'; the columns are: document"),
    "no columns": ({}, f"{NO_COLUMN} none"),
    "a column without a name": ({"": "d", "summary": "s"}, f"{NO_COLUMN} '', summary"),
    "capitals": ({"Document": "d", "Summary": "s"}, f"{NO_COLUMN} Document, Summary"),
    "space before a name": ({" document": "d"}, f"{NO_COLUMN} ' document'"),
    "line break in a name": ({"a\nb\u2028c": "d"}, rf"{NO_COLUMN} a\nb\u2028c;"),
    "terminal codes in a name": ({"\x1b[31mred": "d"}, rf"{NO_COLUMN} \x1b[31mred;"),
    "half a character in a name": ({"a\ud83d": "d"}, rf"{NO_COLUMN} a\ud83d;"),
    "a name of megabytes": ({LONG: "d"}, NO_COLUMN),
    "thousands of columns": ({str(n): 0 for n in range(20_000)}, f"{NO_COLUMN} 0, 1, 2, 3, 4"),
    "columns one level down": ({"row": {"document": "d"}}, f"{NO_COLUMN} row"),
    "document is null": ({**ROW, "document": None}, text_of("document", "a missing value")),
    "document is an integer": ({**ROW, "document": 7}, text_of("document", "int")),
    "document is true": ({**ROW, "document": True}, text_of("document", "bool")),
    "document is NaN": ({**ROW, "document": float("nan")}, text_of("document", "a missing value")),
    "document is an object": ({**ROW, "document": {}}, text_of("document", "dict")),
    "document is a list": ({**ROW, "document": ["d"]}, text_of("document", "list")),
    "summary is null": ({**ROW, "summary": None}, text_of("summary", "a missing value")),
    "summary is Infinity": ({**ROW, "summary": 1e999}, text_of("summary", "float")),
    "summary is an object": ({**ROW, "summary": {}}, text_of("summary", "dict")),
    "no references": ({**ROW, "summary": []}, "column summary is an empty list"),
    "a null reference": ({**ROW, "summary": ["s", None]}, text_of("summary", "a missing value")),
    "a list of lists": ({**ROW, "summary": [["s"]]}, text_of("summary", "list")),
    "half a character": (
        {**ROW, "document": "a\ud83d"},
        "column document contains half a character",
    ),
    "halves the wrong way round": ({**ROW, "document": "\ude00\ud83d"}, "document contains half"),
    "half a character below": ({**ROW, "summary": ["s", "\ude00"]}, "column summary contains half"),
    "half a character in the id": ({**ROW, "id": "\ud83d"}, "column id contains half a character"),
    "a number behind megabytes": ({"x": LONG, **ROW, "document": 1}, text_of("document", "int")),
}


# Lines that are no row of a .jsonl file.
JSON_LINES = {
    "cut behind a column": (b'{"document":', OTHER_KIND),
    "cut in a text": (b'{"document": "The fer', BROKEN),
    "cut behind megabytes": (b'{"document": "' + LONG.encode(), "at column 14 "),
    "a comma too many": (b'{"document": "d", "summary": "s",}', BROKEN),
    "a comma missing": (b'{"document": "d" "summary": "s"}', "at column 18 "),
    "a colon missing": (b'{"document" "d"}', "at column 13 "),
    "a comma between rows": (GOOD.strip() + b",", OTHER_KIND),
    "two rows": (GOOD.strip() * 2, OTHER_KIND),
    "old Mac line ends": (GOOD.replace(b"\n", b"\r") * 2, OTHER_KIND),
    "single quotes": (b"{'document': 'd'}", BROKEN),
    "a name without quotes": (b'{document: "d"}', BROKEN),
    "a comment": (b"// rows of May", BROKEN),
    "Python's None": (b'{"document": "d", "summary": None}', BROKEN),
    "a number led by zero": (b'{"id": 007, "document": "d"}', BROKEN),
    "an unknown escape": (b'{"document": "\\x41"}', BROKEN),
    "a tab in a text": (b'{"document": "a\tb"}', BROKEN),
    "csv": (b"The ferry left.,It left.", BROKEN),
    "a list": (b'[{"document": "d", "summary": "s"}]', "columns, not list"),
    "lists": (b'[["d", "s"]]', "columns, not list"),
    "a text": (b'"The ferry left."', "columns, not str"),
    "a number": (b"12", "columns, not int"),
    "NaN": (b"NaN", "columns, not float"),
    "null": (b"null", "columns, not NoneType"),
    "a huge integer": (b'{"id": ' + b"1" * 5000 + b"}", DIGITS),
    "a huge negative integer, deep": (b'{"a": [{"b": -' + b"9" * 9999 + b"}]}", DIGITS),
    "deep lists": (b"[" * 100_000, DEEP),
    "deep objects": (b'{"a":' * 100_000, DEEP),
    "NUL in a text": (b'{"document": "a\0b", "summary": "s"}', "byte 16 is NUL"),
    "nothing but NUL": (b"\0" * 4096, "byte 1 is NUL"),
    "utf-16 from here on": (GOOD.decode().encode("utf-16-le"), NUL),
    "utf-32 from here on": (GOOD.decode().encode("utf-32-be"), NUL),
    "latin-1": ('{"document": "Zürich"}'.encode("latin-1"), "byte 16 is not UTF-8"),
    "cp1252": ('{"document": "“So”"}'.encode("cp1252"), "byte 15 is not UTF-8"),
    "shift-jis": ('{"document": "渡し船"}'.encode("shift-jis"), "is not UTF-8"),
    "a character cut off": ('{"document": "€'.encode()[:-1], "byte 15 is not UTF-8"),
    "a surrogate in UTF-8": (b'{"document": "\xed\xa0\xbd"}', "byte 15 is not UTF-8"),
    "an overlong NUL": (b'{"document": "\xc0\x80"}', "byte 15 is not UTF-8"),
    "beyond Unicode": (b'{"document": "\xf5\x80\x80\x80"}', "byte 15 is not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD.strip(), JOINED),
    "a byte order mark within": (b'{"document": \xef\xbb\xbf"d"}', BROKEN),
}


# The same for .csv and, with tabs, .tsv; but for an open quote, which swallows the rows behind it.
TABLE_LINES = {
    "a field too many": (b"d,s,t", "3 fields, but the header has 2"),
    "a field too few": (b"d", "1 field, but the header has 2"),
    "an open quote": (b'"d,s', QUOTES),
    "an open quote before megabytes": (b'd,"s' + b"\na b" * 500_000, QUOTES),
    "text behind a quote": (b'"d"x,s', QUOTES),
    "a quote within, not doubled": (b'"the "old" mill",s', QUOTES),
    "a carriage return": (b"d\rd,s", "a carriage return splits the row in two"),
    "NUL": (b"d\0,s", "byte 2 is NUL"),
    "latin-1": ("Zürich,s".encode("latin-1"), "byte 2 is not UTF-8"),
    "a field of megabytes too many": (b"d,s," + LONG.encode(), "3 fields"),
}


# What no kind of text file holds.
BINARY = {
    "gzip": (gzip.compress(GOOD, mtime=0), None, "gzip-compressed, not text; add .gz"),
    "zip": (b"PK\3\4\x14\0\0\0\x08\0rows.jsonl", None, "a zip archive or an Excel workbook"),
    "bzip2": (bz2.compress(GOOD), None, "add .bz2 to its name"),
    "xz": (lzma.compress(GOOD), None, "add .xz to its name"),
    "pickle": (pickle.dumps([ROW]), 1, NUL),
    "parquet": (parquet(), None, "rename it to end in .parquet"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(64), 1, "byte 1 is not UTF-8"),
}


JSONL_FILES = {
    "empty": (b"", None, NO_ROWS),
    "blank lines": (b"\n \r\n\t\n", None, NO_ROWS),
    "a byte order mark alone": (b"\xef\xbb\xbf", None, NO_ROWS),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + GOOD, 1, JOINED),
    "a bad byte behind a byte order mark": (b'\xef\xbb\xbf{"\xff', 1, "byte 6 is not UTF-8"),
    "a row over several lines": (json.dumps(ROW, indent=1).encode(), 1, OTHER_KIND),
    "a list over several lines": (json.dumps([ROW], indent=1).encode(), 1, OTHER_KIND),
}


JSON_FILES = {
    "empty": (b"", 1, OTHER_KIND),
    "an empty list": (b"[]", None, NO_ROWS),
    "an empty list in a mapping": (b'{"data": []}', None, NO_ROWS),
    "cut behind a row": (b"[\n" + GOOD + b",\n", 4, BROKEN),
    "a comma missing": (b"[\n" + GOOD + GOOD + b"]", 3, BROKEN),
    "a line break in a text": (b'[\n{"document": "a\nb"}]', 2, BROKEN),
    "splits": (b'{"train": [' + GOOD + b'], "test": [' + GOOD + b"]}", 1, "holds a list of rows"),
    "columns of unequal length": (b'{"document": ["d"], "summary": []}', 1, "holds a list of rows"),
    "a text": (b'"rows"', 1, "holds a list of rows"),
    "null": (b"null", 1, "holds a list of rows"),
    "a list of lists": (b'[["d", "s"]]', None, "row 0: a row is a JSON object with columns"),
    "a list of texts": (b'["d", "s"]', None, "columns, not str"),
    "a huge integer": (b"[\n" + GOOD + b',\n{"id":\n' + b"1" * 5000 + b"}]", 5, DIGITS),
    "deep lists": (b"[" * 100_000, 1, DEEP),
    "latin-1": (b'[\n{"document":\n"Z\xfcrich"}]', 3, "byte 3 is not UTF-8"),
    "NUL behind megabytes": (b'[\n{"a": "' + LONG.encode() + b"\0", 2, NUL),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + b"[]", 1, JOINED),
    "two lists": (b"[" + GOOD + b"]\n[" + GOOD + b"]", 3, "join the lists"),
    "pandas' split": (b'{"columns": ["document"], "index": [0], "data": [["d"]]}', 1, "orient="),
}


TABLE_FILES = {
    "empty": (b"", None, NO_ROWS),
    "a header alone": (b"document,summary\n", None, NO_ROWS),
    "a header twice named": (b"document,document,summary\nd,d,s\n", 1, TWINS),
    "a header without names": (b",\nd,s\n", 2, "the columns are: ''; name the right one"),
    "a header of two lines": (
        b'document,"sum\nmary"\nd,s\n',
        3,
        r"the columns are: document, sum\nmary",
    ),
    "an open quote in the header": (b'document,"summary\nd,s\n', 1, QUOTES),
    "no header": (
        b"The ferry left.,It left.\na,b\n",
        2,
        "the columns are: The ferry left., It left.",
    ),
    "no summary": (b"id,document\n1,d\n", 2, "no column 'summary'; the columns are: id, document"),
    "R's row names": (b"document,summary\n1,d,s\n2,d,s\n", 2, "row.names=FALSE"),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + TABLE, 1, JOINED),
    "two files joined": (TABLE + TABLE, 4, AGAIN),
    "two files with marks joined": ((b"\xef\xbb\xbf" + TABLE) * 2, 4, JOINED),
    "a header in another order": (TABLE + b"summary,document\n", 4, AGAIN),
    "rows of JSON": (b'{"document": "d"}\n{"document": "e"}\n', 2, "no column 'document'"),
}


TXT_FILES = {
    "empty": (b"", None, NO_ROWS),
    "blank lines": (b"\n \n\t\n", None, NO_ROWS),
    "a byte order mark alone": (b"\xef\xbb\xbf", None, NO_ROWS),
    "latin-1": (b"A ferry.\n\nZ\xfcrich.\n", 3, "byte 2 is not UTF-8"),
    "latin-1 behind megabytes": (LONG.encode() + b"\xfc", 1, f"byte {len(LONG) + 1} is not"),
    "a character cut off": ("A ferry.\n€".encode()[:-1], 2, "byte 1 is not UTF-8"),
    "NUL": (b"A ferry.\n\nIt\0left.\n", 3, "byte 3 is NUL"),
}


UNREADABLE = "not a readable parquet file"


PARQUET_FILES = {
    "empty": (b"", UNREADABLE),
    "a mark alone": (b"PAR1", UNREADABLE),
    "two marks alone": (b"PAR1PAR1", UNREADABLE),
    "csv": (TABLE, UNREADABLE),
    "gzip": (gzip.compress(parquet(), mtime=0), UNREADABLE),
    "cut in half": (parquet()[: len(parquet()) // 2], UNREADABLE),
    "cut in the footer": (parquet()[:-20], UNREADABLE),
    "cut at the start": (parquet()[20:], UNREADABLE),
    "a footer without length": (parquet()[:-8] + b"\0\0\0\0PAR1", UNREADABLE),
    "a footer beyond the file": (parquet()[:-8] + b"\xff\xff\xff\xffPAR1", UNREADABLE),
    "a footer of noise": (b"PAR1" + b"\xff" * 99 + b"\x63\0\0\0PAR1", UNREADABLE),
    "an encrypted footer": (parquet()[:-4] + b"PARE", UNREADABLE),
    "a flipped byte in a name": (parquet().replace(b"summary", b"\xffummary"), UNREADABLE),
    "a flipped byte in a text": (parquet().replace(b"ferry", b"\xfferry"), "document cannot be"),
    "no rows": (parquet(document=pa.array([], "str"), summary=pa.array([], "str")), NO_ROWS),
    "no columns": (parquet(pa.table({})), NO_ROWS),
    "no document": (parquet(pa.table({"summary": ["s"]})), "the columns are: summary"),
    "a name twice": (parquet(pa.table([["d"], ["d"]], ["document"] * 2)), TWINS),
    "integers": (parquet(document=[7]), "row 0: " + text_of("document", "int")),
    "bytes": (parquet(document=[b"d"]), text_of("document", "bytes")),
    "dates": (parquet(document=[date(2026, 1, 1)]), text_of("document", "date")),
    "decimals": (parquet(document=[Decimal("1.5")]), text_of("document", "Decimal")),
    "nulls": (parquet(document=pa.nulls(1)), text_of("document", "a missing value")),
    "structs": (parquet(document=[{"text": "d"}]), text_of("document", "dict")),
    "lists": (parquet(document=[["d"]]), text_of("document", "list")),
    "numbers in lists": (parquet(summary=[[1.5]]), text_of("summary", "float")),
    "lists in lists": (parquet(summary=[[["s"]]]), text_of("summary", "list")),
    "maps": (parquet(summary=pa.array([[("k", "s")]], MAP)), text_of("summary", "tuple")),
    "empty lists": (parquet(summary=[[]]), "column summary is an empty list"),
    "a null far down": (parquet(document=["d"] * 1500 + [None], summary=["s"] * 1501), "row 1500:"),
    "a day beyond calendars": (parquet(day=pa.array([2**31 - 1], "date32")), "day cannot be read"),
}


# What stands where a file should.
PLACES = {
    "nothing.jsonl": (lambda path: None, "no such file; check data.train"),
    "folder.jsonl": (Path.mkdir, "no data files in this folder"),
    "pipe.jsonl": (os.mkfifo, "a folder or a device, not a file"),
    "link-to-nothing.csv": (lambda path: path.symlink_to("nothing"), "no such file"),
    "link-to-itself.tsv": (lambda path: path.symlink_to(path), "no such file"),
    "a-name-too-long" * 40 + ".txt": (
        lambda path: None,
        "the name is too long",
    ),
    "closed.jsonl": (make_closed, "no permission to read it"),
    "rows.xlsx": (Path.touch, "save the sheet as CSV UTF-8"),
    "rows.parquet.gz": (Path.touch, "unknown file format; decompress it"),
    "rows.gz": (Path.touch, "unknown file format"),
    "rows.jsonl.zip": (Path.touch, "unpack it"),
    "part-*.jsonl": (lambda path: None, "no file matches"),
    "empty.jsonl.gz": (Path.touch, NO_ROWS),
    "cut.csv.gz": (lambda p: p.write_bytes(gzip.compress(TABLE)[:-9]), "not readable as gzip"),
    "cut.txt.xz": (lambda p: p.write_bytes(lzma.compress(GOOD)[:-9]), "not readable as xz"),
    "cut.json.bz2": (lambda p: p.write_bytes(bz2.compress(GOOD)[:-9]), "not readable as bzip2"),
    "other.jsonl.zst": (lambda p: p.write_bytes(GOOD), "not readable as zstd"),
    "other.tsv.gz": (lambda p: p.write_bytes(GOOD), "not readable as gzip"),
    "noise.arrow": (lambda p: p.write_bytes(b"ARROW1" + bytes(99)), "not a readable Arrow file"),
    "noise.feather": (lambda p: p.write_bytes(b"FEA1" + bytes(99)), "not a readable Arrow file"),
    "rows": (Path.touch, "unknown file format"),
}


def corpus():
    """(kind, case, content or what makes the file, place, part of the message) of each case."""
    rows = {name: (json.dumps(row).encode(), said) for name, (row, said) in ROWS.items()}
    for name, (line, said) in [*JSON_LINES.items(), *rows.items()]:
        yield "jsonl", f"line: {name}", GOOD + b"\n" + line + b"\n" + GOOD, 3, said
    for name, (row, said) in rows.items():
        yield "json", f"row: {name}", b"[" + GOOD + b"," + row + b"]", "row 1", said
    for kind, delimiter in (("csv", b","), ("tsv", b"\t")):
        lines = {n: case for n, case in TABLE_LINES.items() if kind == "csv" or "quote" not in n}
        for name, (line, said) in lines.items():
            content = TABLE + line + (b"" if "open" in name else b"\nd,s\n")
            yield kind, f"line: {name}", content.replace(b",", delimiter), 4, said
        for name, (content, line, said) in [*TABLE_FILES.items(), *BINARY.items()]:
            if kind == "tsv" and "quote" in name:  # where quotes go with tabs they are text
                continue
            yield kind, name, content.replace(b",", delimiter), line, said
    for kind, files in ("jsonl", JSONL_FILES), ("json", JSON_FILES), ("txt", TXT_FILES):
        for name, case in [*files.items(), *BINARY.items()]:
            yield kind, name, *case
    for kind, files in ("parquet", PARQUET_FILES), ("place", PLACES):
        for name, (content, said) in files.items():
            yield kind, name, content, None, said


CORPUS = list(corpus())


# Unusual, but each holds ROW's texts and can be read.
READABLE = {
    "mark.jsonl": b"\xef\xbb\xbf\r\n \t\n" + GOOD.strip() + b"\r\n\n" + GOOD.strip(),
    "SHOUTED.JSONL": GOOD,
    "rest.jsonl": json.dumps({**ROW, "n": [float("nan"), 1e999, "\0\ud83d"], "\n": {}}).encode(),
    "list.json": b"\xef\xbb\xbf" + json.dumps({"n": 1, "rows": [ROW]}, indent=2).encode(),
    "blank.csv": b"\n\r\ndocument,summary,,\r\n\r\nThe ferry left at noon.,It left.,,",
    "quotes.tsv": b'\xef\xbb\xbf"document"\t"summary"\n"The ferry left at noon."\t"It left."\n\n',
    "lines.json": GOOD * 3,
    "lines.ndjson": GOOD * 3,
    "sequence.json": json.dumps(ROW, indent=2).encode() * 2,
    "columns.json": json.dumps({name: [text, text] for name, text in ROW.items()}).encode(),
    "semicolons.csv": b"document;summary\nThe ferry left at noon.;It left.\n",
    "old-mac.csv": b"document,summary\rThe ferry left at noon.,It left.\r",
    "old-mac.jsonl": GOOD.replace(b"\n", b"\r") * 2,
    "wide.jsonl": GOOD.decode().encode("utf-16"),
    "types.parquet": parquet(
        document=pa.array([ROW["document"]], pa.dictionary(pa.int8(), pa.string())),
        summary=pa.array([ROW["summary"]], pa.large_string()),
        time=pa.array([1], pa.timestamp("ns", "UTC")),
    ),
}
