"""Files of rows as Excel, pandas and other programs write them."""

import bz2
import csv
import gzip
import io
import lzma

import pyarrow
import pyarrow.parquet

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.tasks import get_task

SUMMARIZE, CLASSIFY = get_task("summarize"), get_task("classify")


DOCUMENTS = ["The ferry, late.", 'He said "noon"; she left.', "Two\nlines | Zürich", "4 €", "NA"]


ROWS = [{"document": text, "summary": f"Summary {i}"} for i, text in enumerate(DOCUMENTS)]


LABELED = [{"text": "Bad.", "label": "negative"}, {"text": "Good.", "label": "positive"}] * 3


def excel(rows, path, delimiter=",", encoding="utf-8-sig", first="", last=""):
    """As Excel saves a sheet: CR LF, line breaks in cells as LF."""
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes((first + file.getvalue() + last).encode(encoding))


def lines_of(path, *lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def all_rows(path, task=SUMMARIZE, **data):
    path = str(path)
    splits = open_splits(Data(train=path, validation=path, test=path, **data), task)
    names = [name for name in task.columns if name not in task.optional_inputs]
    return [{name: row[name] for name in names} for row in splits["train"]]


COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
}
