"""Rows out of local files. Every error names the file and the physical line."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmkit.errors import UserError

Raw = tuple[str, dict[str, Any]]  # where a row stands (file:line), and its columns in the file


def check(path: Path, given_by: str) -> None:
    """Raise UserError unless the file is there and of a kind that can be read.

    given_by: the key or flag that named it.
    """
    if path.suffix.lower() not in READERS:
        raise UserError(
            f"{path}: unknown kind of file; rows come as {', '.join(READERS)}: check {given_by}"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file; check {given_by}")


def read(path: Path) -> Iterator[Raw]:
    """(file:line, columns) of each row."""
    return READERS[path.suffix.lower()](path)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, decoded one by one so that a bad byte is found in its line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}:{number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
                ) from None


def _read_jsonl(path: Path) -> Iterator[Raw]:
    for number, line in _lines(path):
        if line.strip():
            yield f"{path}:{number}", _as_row(_parse_json(line, path, number), f"{path}:{number}")


def _read_json(path: Path) -> Iterator[Raw]:
    """A list of rows, or a mapping with one list of rows in it ({"data": [...]})."""
    content = _parse_json("".join(line for _, line in _lines(path)), path, 1)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise UserError(f"{path}:1: a .json file holds a list of rows; for a row a line use .jsonl")
    for index, row in enumerate(content):
        yield f"{path}: row {index}", _as_row(row, f"{path}: row {index}")


def _parse_json(text: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise UserError(
            f"{path}:{line}: broken JSON at column {error.colno} ({error.msg}); mend this line"
        ) from None
    except RecursionError:
        raise UserError(f"{path}:{first_line}: JSON nested too deeply; flatten it") from None


def _as_row(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise UserError(f"{where}: a row is a JSON object with columns, not {type(value).__name__}")


def _read_table(path: Path, delimiter: str) -> Iterator[Raw]:
    """A csv or tsv file with a header line."""
    reader = csv.reader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise UserError(
                    f"{path}:{reader.line_num}: {len(fields)} fields, but the header has "
                    f"{len(header)}; quote fields that hold the delimiter"
                )
            yield f"{path}:{reader.line_num}", dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}; mend this line") from None


def _read_csv(path: Path) -> Iterator[Raw]:
    return _read_table(path, ",")


def _read_tsv(path: Path) -> Iterator[Raw]:
    return _read_table(path, "\t")


def _read_parquet(path: Path) -> Iterator[Raw]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                yield f"{path}: row {number}", row
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({error}); write it again") from None


def _read_txt(path: Path) -> Iterator[Raw]:
    """A row a paragraph: blank lines separate, line breaks inside stay."""
    paragraph: list[str] = []
    start = 1
    for number, line in _lines(path):
        if line.strip():
            start = start if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield f"{path}:{start}", {"text": "".join(paragraph).strip()}
            paragraph = []
    if paragraph:
        yield f"{path}:{start}", {"text": "".join(paragraph).strip()}


# A cell may be longer than the 128 kB that csv allows by default.
csv.field_size_limit(2**31 - 1)

READERS = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
}
