"""Rows of predictions as lines of a text file: JSON, or the cells of a table (csv, tsv)."""

import csv
import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from llmkit.errors import UserError
from llmkit.io.safe_json import to_json

OutputRow = dict[str, Any]
PROBABILITY_PREFIX = "probability_"  # of the table columns for each label
# Columns with several values, and how each is split into table columns with one value.
NESTED_COLUMNS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "probabilities": lambda of: {
        f"{PROBABILITY_PREFIX}{label}": value for label, value in of.items()
    },
    "predictions": lambda texts: {f"prediction_{n}": text for n, text in enumerate(texts, 1)},
}
TABLE_FORMATS = (".csv", ".tsv")  # a cell holds one value
NUMBERED_PREDICTION = re.compile(r"prediction_[1-9]\d*")


def check_writable(row: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a row with text that cannot be encoded as UTF-8."""
    try:
        json_line(row).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where}: the row contains half a character (a lone surrogate); fix the row"
        ) from None


def header_line(row: OutputRow, columns: list[str], delimiter: str) -> str:
    """The header of a table, in which each nested column becomes several columns.

    row: Any row of the table; all have the same nested columns.
    """
    return _join(_header(row, columns), delimiter)


def table_line(row: OutputRow, columns: list[str], delimiter: str) -> str:
    """A row of a table, with a line ending; cells may contain line breaks."""
    cells = _flatten(row)
    return _join([_cell(cells.get(name)) for name in _header(row, columns)], delimiter)


def _join(cells: list[str], delimiter: str) -> str:
    # Before Python 3.13, csv does not quote carriage returns, which readers take for line endings.
    has_return = any("\r" in cell for cell in cells)
    quoting = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(cells)
    return text.getvalue()


def _header(row: OutputRow, columns: list[str]) -> list[str]:
    return [name for column in columns for name in _flat_names(column, row)]


def _flatten(row: OutputRow) -> dict[str, Any]:
    cells = {}
    for name, value in row.items():
        cells |= NESTED_COLUMNS[name](value) if name in NESTED_COLUMNS else {name: value}
    return cells


def _flat_names(column: str, row: OutputRow) -> list[str]:
    return list(NESTED_COLUMNS[column](row[column])) if column in NESTED_COLUMNS else [column]


def restore_nested(row: OutputRow) -> OutputRow:
    """The inverse of splitting nested columns: combine the table columns of `probabilities` and
    `predictions`."""
    probabilities = {
        name.removeprefix(PROBABILITY_PREFIX): _number(value)
        for name, value in row.items()
        if name.startswith(PROBABILITY_PREFIX)
    }
    predictions = [value for name, value in row.items() if NUMBERED_PREDICTION.fullmatch(name)]
    nested = {"probabilities": probabilities, "predictions": predictions}
    return {name: value for name, value in nested.items() if value} | row


def _number(value: Any) -> Any:
    """The cell as a float if it is a number, possibly with a decimal comma; None if it is empty."""
    if value == "":
        return None
    try:
        return float(value.replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return value


def _cell(value: Any) -> str:
    """The text of a cell: strings unchanged except for NUL, other JSON values as JSON, and types
    that JSON lacks, such as dates, as text. Missing values and numbers that are not finite give an
    empty cell."""
    if value is None or value != value or value in (math.inf, -math.inf):
        return ""
    is_json = isinstance(value, bool | int | float | list | tuple | dict)
    text = json_line(value) if is_json else str(value)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def json_line(value: Any) -> str:
    """The value as one line of JSON. NaN becomes null; types that JSON lacks become strings."""
    return to_json(value, ensure_ascii=False, default=str)


def ordered_columns(row: OutputRow, columns: list[str]) -> OutputRow:
    """The row's columns in the given order; missing ones are omitted."""
    return {name: row[name] for name in columns if name in row}
