"""Rows out of local files. Every error names the file and the physical line.

A row that cannot be read stands in its place as the UserError that says so, and the rows behind it
are read; where a file as a whole is broken, the error is raised.
"""

import csv
import hashlib
import json
import os
import re
import sys
from collections import Counter
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
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{shown(str(path))}: a name that is not UTF-8; rename the file") from None
    # os.path, since Path's own raise where a name is too long
    if not os.path.exists(path):
        raise UserError(f"{path}: no such file; check {given_by}")
    if not os.path.isfile(path):
        raise UserError(f"{path}: a folder or a device, not a file; check {given_by}")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: no permission to read it; change that, or check {given_by}")


def check_output(
    output: str | None, given_by: str = "--output", suffix: str | None = None
) -> Path | None:
    """The file to write; UserError, before any work, when that cannot be.

    suffix: how its name has to end, so that no file of another kind is written over.
    """
    if output is None:
        return None
    path = expand(output)
    if suffix and path.suffix.lower() != suffix:
        raise UserError(f"{given_by}: {path}: the name of such a file ends in {suffix}")
    if path.is_dir():
        raise UserError(f"{given_by}: {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"{given_by}: there is no folder {path.parent}; make it first")
    return path


def expand(name: str) -> Path:
    """A path as typed, ~ for the home folder; of a user who is not there it stays as it is."""
    return Path(os.path.expanduser(name))


def shown(text: str, longest: int = 300) -> str:
    """Text out of a file, fit for a message: short, in one line, what does not print escaped."""
    short = text if len(text) <= longest else f"{text[:longest]} ..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, columns) of each row; raises UserError at the first that cannot be read."""
    for where, row in read_all(path):
        if isinstance(row, UserError):
            raise row
        yield where, row


def read_all(path: Path) -> Iterator[Raw]:
    """(file:line, columns or what is wrong with them) of each row."""
    return READERS[path.suffix.lower()](path)


def sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, to be decoded one by one so that a bad byte is found in its line."""
    with path.open("rb") as file:
        yield from enumerate(file, 1)


def _decode(line: bytes, path: Path, number: int) -> str:
    where, nul = f"{path}:{number}", line.find(b"\0")
    if nul >= 0:
        raise UserError(f"{where}: byte {nul + 1} is NUL, which no text holds; save as UTF-8 text")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        ) from None
    return text.removeprefix("\ufeff") if number == 1 else text


def _decoded_lines(path: Path, bad: list[UserError] | None = None) -> Iterator[str]:
    """The lines as text. One that is none raises UserError; given `bad`, the error is put there
    and the line comes with replacements, so that the reader of rows finds the next row."""
    for number, line in _lines(path):
        try:
            yield _decode(line, path, number)
        except UserError as error:
            if bad is None:
                raise
            bad.append(error)
            yield line.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _read_jsonl(path: Path) -> Iterator[Raw]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        try:
            text = _decode(line, path, number).rstrip()
            if not text:
                continue
            row = _parse_json(text, path, number)
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
        is_other_kind = error.msg == "Extra data" or error.pos == len(text)  # .json or .jsonl
        raise UserError(
            f"{path}:{line}: broken JSON at column {error.colno} ({error.msg}); mend this line"
            f"{'; .json holds one list of rows, .jsonl a row a line' if is_other_kind else ''}"
        ) from None
    except ValueError:  # int() refuses so many digits
        digits = re.search(rf"\d{{{sys.int_info.str_digits_check_threshold}}}", text)
        line = first_line + text.count("\n", 0, digits.start())
        raise UserError(
            f"{path}:{line}: a number with too many digits; shorten it, or quote it as a text"
        ) from None
    except RecursionError:
        raise UserError(f"{path}:{first_line}: JSON nested too deeply; flatten it") from None


def _not_a_row(value: Any, where: str) -> UserError:
    return UserError(f"{where}: a row is a JSON object with columns, not {type(value).__name__}")


def _read_table(path: Path, delimiter: str) -> Iterator[Raw]:
    """A csv or tsv file with a header line."""
    bad: list[UserError] = []
    reader = csv.reader(_decoded_lines(path, bad), delimiter=delimiter, strict=True)
    start = 1
    try:
        header = next(filter(None, reader), [])
        if bad:
            raise bad[0]
        _check_names(header, f"{path}:{reader.line_num}")
        start = reader.line_num + 1  # a field may hold line breaks: a row stands where it begins
        for fields in reader:
            where, start = f"{path}:{start}", reader.line_num + 1
            if bad:
                yield where, bad[0]
                bad.clear()
            elif not fields:
                continue
            elif len(fields) == len(header):
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
        what = shown(str(error).partition(" - ")[0])  # behind the dash stands advice on Python
        raise UserError(
            f"{path}:{start}: {what}, in the row from here to line {reader.line_num}; close each "
            "quote, double those inside a field, and end lines in LF"
        ) from None


def _check_names(names: list[str], where: str) -> None:
    """Raise UserError where it cannot be known which of two columns is meant."""
    twins = [name for name, count in Counter(names).items() if name and count > 1]
    if twins:
        raise UserError(f"{where}: two columns are named {shown(twins[0])}; rename one of them")


def _read_csv(path: Path) -> Iterator[Raw]:
    return _read_table(path, ",")


def _read_tsv(path: Path) -> Iterator[Raw]:
    return _read_table(path, "\t")


def _read_parquet(path: Path) -> Iterator[Raw]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        file = parquet.ParquetFile(path)
        _check_names(file.schema_arrow.names, str(path))
        for batch in file.iter_batches(batch_size=1000):
            columns = dict(_to_lists(batch, f"{path}: row {number} or soon after"))
            for index in range(batch.num_rows):
                row = {name: values[index] for name, values in columns.items()}
                yield f"{path}: row {number}", row
                number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not a readable parquet file ({_reason(error)}); write it again"
        ) from None


def _to_lists(batch: Any, where: str) -> Iterator[tuple[str, list[Any]]]:
    """Name and values of each column of a record batch."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            yield name, column.to_pylist()
        except (ValueError, ArithmeticError, LookupError) as error:  # bad UTF-8, the year 300,000
            raise UserError(
                f"{where}: column {shown(name)} cannot be read ({_reason(error)}); mend it, or "
                "leave the column out"
            ) from None


def _reason(error: Exception) -> str:
    return shown(" ".join(str(error).split()))


def _read_txt(path: Path) -> Iterator[Raw]:
    """A row a paragraph: blank lines separate, line breaks inside stay."""
    paragraph: list[str] = []
    bad: list[UserError] = []
    start = 1
    for number, line in enumerate(chain(_decoded_lines(path, bad), [""]), 1):
        if line.strip():
            start = start if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield f"{path}:{start}", bad[0] if bad else {"text": "".join(paragraph).strip()}
            paragraph, bad[:] = [], []


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
