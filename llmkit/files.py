"""Rows out of local files. Every error names the file and the physical line.

A row that cannot be read stands in its place as the UserError that says so, and the rows behind it
are read; where a file as a whole is broken, the error is raised.
"""

import csv
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from llmkit.errors import UserError

# Where a row stands (file:line), and its columns in the file or what is wrong with it.
Raw = tuple[str, dict[str, Any] | UserError]


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


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, columns) of each row; raises UserError at the first that cannot be read."""
    for where, row in read_all(path):
        if isinstance(row, UserError):
            raise row
        yield where, row


def read_all(path: Path) -> Iterator[Raw]:
    """(file:line, columns or what is wrong with them) of each row."""
    return READERS[path.suffix.lower()](path)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, to be decoded one by one so that a bad byte is found in its line."""
    with path.open("rb") as file:
        yield from enumerate(file, 1)


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        ) from None


def _decoded_lines(path: Path) -> Iterator[str]:
    return (_decode(line, path, number) for number, line in _lines(path))


def _read_jsonl(path: Path) -> Iterator[Raw]:
    for number, line in _lines(path):
        if line.strip():
            where = f"{path}:{number}"
            try:
                row = _parse_json(_decode(line, path, number).rstrip(), path, number)
            except UserError as error:
                yield where, error
            else:
                yield where, row if isinstance(row, dict) else _not_a_row(row, where)


def _read_json(path: Path) -> Iterator[Raw]:
    """A list of rows, or a mapping with one list of rows in it ({"data": [...]})."""
    content = _parse_json("".join(_decoded_lines(path)), path, 1)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise UserError(f"{path}:1: a .json file holds a list of rows; for a row a line use .jsonl")
    for index, row in enumerate(content):
        where = f"{path}: row {index}"
        yield where, row if isinstance(row, dict) else _not_a_row(row, where)


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


def _not_a_row(value: Any, where: str) -> UserError:
    return UserError(f"{where}: a row is a JSON object with columns, not {type(value).__name__}")


def _read_table(path: Path, delimiter: str) -> Iterator[Raw]:
    """A csv or tsv file with a header line."""
    reader = csv.reader(_decoded_lines(path), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        start = reader.line_num + 1  # a field may hold line breaks: a row stands where it begins
        for fields in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if not fields:
                continue
            if len(fields) == len(header):
                yield where, dict(zip(header, fields, strict=True))
            else:
                yield (
                    where,
                    UserError(
                        f"{where}: {len(fields)} fields, but the header has {len(header)}; quote "
                        "fields that hold the delimiter"
                    ),
                )
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
    for number, line in enumerate(chain(_decoded_lines(path), [""]), 1):
        if line.strip():
            start = start if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield f"{path}:{start}", {"text": "".join(paragraph).strip()}
            paragraph = []


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
