"""Prediction files in csv, tsv, jsonl, json and parquet, written completely or not at all."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from llmkit.errors import UserError
from llmkit.io.atomic import sibling, sync
from llmkit.io.safe_json import to_json

OutputRow = dict[str, Any]
PROBABILITY_PREFIX = "probability_"  # followed by the label: a column of a table
# Columns of an output row that hold several values -> the columns of a table that hold one each.
NESTED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "probabilities": lambda of: {
        f"{PROBABILITY_PREFIX}{label}": value for label, value in of.items()
    },
    "predictions": lambda texts: {f"prediction_{n}": text for n, text in enumerate(texts, 1)},
}
TABLE_FORMATS = (".csv", ".tsv")  # a cell holds one value
NUMBERED_PREDICTION = re.compile(r"prediction_[1-9]\d*")


def check_format(path: Path) -> None:
    """Raise UserError unless the file's name ends in a format that can be written."""
    if path.suffix.lower() not in WRITERS:
        raise UserError(
            f"--output: {path}: predictions are written as {', '.join(WRITERS)}; name a file that "
            "ends in one of them"
        )


def check_writable(row: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a row with text that cannot be written to a file."""
    try:
        json_line(row).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where}: the row holds half a character (a lone surrogate); fix the row"
        ) from None


def write_rows(path: Path, rows: Iterable[OutputRow], columns: list[str]) -> None:
    """Write the rows in the format that the file's extension names.

    Args:
        path: The file. An existing one is replaced after the last row was written.
        rows: Mappings of column names to values, read one by one.
        columns: Names of all columns in order; a row may lack some.
    """
    with _replacing(path) as partial:
        WRITERS[path.suffix.lower()](partial, rows, columns)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file in the same folder that replaces `path` at the end, or is deleted after an
    error."""
    path = Path(os.path.realpath(path))
    partial = sibling(path, "partial")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _write_table(file: IO[str], rows: Iterable[OutputRow], columns: list[str], **dialect) -> None:
    """Write a header and one line per row; nested columns become several columns."""
    writer = csv.writer(file, lineterminator="\n", **dialect)
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL, **dialect)
    header: list[str] = []
    for row in rows:
        cells = _spread(row)
        if not header:
            header = [name for column in columns for name in _spread_names(column, row)]
            writer.writerow(header)
        texts = [_cell(cells.get(name)) for name in header]
        # Before Python 3.13 a carriage return is not quoted, and readers take it for a line ending.
        (quoting if any("\r" in text for text in texts) else writer).writerow(texts)


def _spread(row: OutputRow) -> dict[str, Any]:
    cells = {}
    for name, value in row.items():
        cells |= NESTED[name](value) if name in NESTED else {name: value}
    return cells


def _spread_names(column: str, row: OutputRow) -> list[str]:
    return list(NESTED[column](row[column])) if column in NESTED else [column]


def gather(row: OutputRow) -> OutputRow:
    """The row of a table with its nested columns restored."""
    probabilities = {
        name.removeprefix(PROBABILITY_PREFIX): _number(value)
        for name, value in row.items()
        if name.startswith(PROBABILITY_PREFIX)
    }
    predictions = [value for name, value in row.items() if NUMBERED_PREDICTION.fullmatch(name)]
    nested = {"probabilities": probabilities, "predictions": predictions}
    return {name: value for name, value in nested.items() if value} | row


def _number(value: Any) -> Any:
    """A cell as a number if it is one, possibly with a decimal comma; None for an empty cell."""
    if value == "":
        return None
    try:
        return float(value.replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return value


def _cell(value: Any) -> str:
    """Text unchanged, a missing value as an empty cell, the rest as JSON; NUL is replaced."""
    if value is None or value != value:  # NaN
        return ""
    text = value if isinstance(value, str) else json_line(value)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def json_line(value: Any) -> str:
    """One line of JSON. NaN becomes null; dates and other types unknown to JSON become strings."""
    return to_json(value, ensure_ascii=False, default=str)


def _write_csv(path: Path, rows: Iterable[OutputRow], columns: list[str]) -> None:
    # Excel reads a csv file as UTF-8 only if it begins with a byte order mark.
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        _write_table(file, rows, columns)


def _write_tsv(path: Path, rows: Iterable[OutputRow], columns: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        _write_table(file, rows, columns, delimiter="\t")


def _write_jsonl(path: Path, rows: Iterable[OutputRow], columns: list[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json_line(_in_order(row, columns))}\n" for row in rows)


def _write_json(path: Path, rows: Iterable[OutputRow], columns: list[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"
        for row in rows:
            file.write(separator + json_line(_in_order(row, columns)))
            separator = ",\n"
        file.write("\n]\n")


def _in_order(row: OutputRow, columns: list[str]) -> OutputRow:
    return {name: row[name] for name in columns if name in row}


def _write_parquet(path: Path, rows: Iterable[OutputRow], columns: list[str]) -> None:
    """All rows in one table, since a column's type depends on all of its values."""
    import pyarrow
    from pyarrow import parquet

    with path.open("wb") as file:
        table = list(rows)
        arrays = [_to_array([row.get(name) for row in table]) for name in columns]
        parquet.write_table(pyarrow.table(arrays, names=columns), file)


def _to_array(values: list[Any]) -> Any:
    """An Arrow array; values without a common type become JSON text, NaN a missing value."""
    import pyarrow

    values = [None if value != value else value for value in values]
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        texts = (v if v is None or isinstance(v, str) else json_line(v) for v in values)
        return pyarrow.array(list(texts), pyarrow.string())


WRITERS: dict[str, Callable[[Path, Iterable[OutputRow], list[str]], None]] = {
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".jsonl": _write_jsonl,
    ".json": _write_json,
    ".parquet": _write_parquet,
}
