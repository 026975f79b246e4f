"""Rows of predictions as lines of text: JSON, or cells of a table."""

import csv
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from llmkit.errors import UserError
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


def check_writable(row: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a row with text that cannot be written to a file."""
    try:
        json_line(row).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where}: the row holds half a character (a lone surrogate); fix the row"
        ) from None


def header_line(row: OutputRow, columns: list[str], delimiter: str) -> str:
    """The first line of a table; nested columns become several columns.

    row: Any row of the table, since all have the same nested columns.
    """
    return _join(_header(row, columns), delimiter)


def table_line(row: OutputRow, columns: list[str], delimiter: str) -> str:
    """The line of a row in a table; a cell may hold line breaks."""
    cells = _spread(row)
    return _join([_cell(cells.get(name)) for name in _header(row, columns)], delimiter)


def _join(cells: list[str], delimiter: str) -> str:
    # Before Python 3.13 a carriage return is not quoted, and readers take it for a line ending.
    has_return = any("\r" in cell for cell in cells)
    quoting = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(cells)
    return text.getvalue()


def _header(row: OutputRow, columns: list[str]) -> list[str]:
    return [name for column in columns for name in _spread_names(column, row)]


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


def in_order(row: OutputRow, columns: list[str]) -> OutputRow:
    return {name: row[name] for name in columns if name in row}
