"""Writing prediction files (csv, tsv, jsonl, json, parquet) row by row.

Rows are appended to FILE.partial, which is renamed to FILE at the end: FILE is complete or absent.
FILE.partial.json is a fingerprint, a record of everything that determines the rows. A writer with
the same fingerprint continues an interrupted file after the last complete row of FILE.partial.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llmkit.errors import UserError, count_of, printable
from llmkit.io.atomic import sibling, sync
from llmkit.io.parquet_rows import read_typed_line, typed_line, write_parquet
from llmkit.io.row_lines import OutputRow, header_line, json_line, ordered_columns, table_line
from llmkit.io.safe_json import write_json
from llmkit.io.small_json import UnreadableJson, read_json
from llmkit.io.text_lines import BYTE_ORDER_MARK

DELIMITERS = {".csv": ",", ".tsv": "\t"}
FORMATS = (*DELIMITERS, ".jsonl", ".json", ".parquet")
SECONDS_PER_SYNC = 10  # seconds of work that a power failure may undo


def check_format(path: Path) -> None:
    """Raise UserError unless the file extension is that of a supported format."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--output: {path}: name a file that ends in {', '.join(FORMATS)}")


class RowWriter:
    """Appends rows to FILE.partial. See `open_writer`."""

    def __init__(self, path: Path, columns: list[str], fingerprint: dict[str, Any] | None) -> None:
        self.path, self.columns, self.fingerprint = path, columns, fingerprint
        self.format = path.suffix.lower()
        self.partial, self.record = partial_file(path), record_file(path)
        self.num_rows = self._resume()
        """Number of rows in the file."""
        self._file = self.partial.open("ab", buffering=0)
        self._last_sync = time.monotonic()

    def _resume(self) -> int:
        """Truncate an interrupted file after its last complete row; return the number of rows.

        Raises UserError if the file has another fingerprint.
        """
        num_rows, num_bytes = _complete_rows(self.partial, self.format)
        if num_rows:
            _check_fingerprint(self.partial, num_rows, _read_record(self.record), self.fingerprint)
        elif self.fingerprint is not None:
            write_json(self.record, self.fingerprint)
        with self.partial.open("ab") as file:
            file.truncate(num_bytes)
        return num_rows

    def append(self, row: OutputRow) -> None:
        """Write one row. Rows are synced to disk every SECONDS_PER_SYNC."""
        content = self._text(row).encode()
        while content:  # a full disk accepts part of it before raising an error
            content = content[self._file.write(content) :]
        self.num_rows += 1
        now = time.monotonic()
        if now - self._last_sync > SECONDS_PER_SYNC:
            os.fsync(self._file.fileno())
            self._last_sync = now

    def _text(self, row: OutputRow) -> str:
        if self.format == ".parquet":
            return f"{typed_line(row)}\n"
        if self.format not in DELIMITERS:
            return f"{json_line(ordered_columns(row, self.columns))}\n"
        delimiter = DELIMITERS[self.format]
        line = table_line(row, self.columns, delimiter)
        if self.num_rows:
            return line
        # Excel reads a csv file as UTF-8 only if it begins with a byte order mark.
        mark = BYTE_ORDER_MARK if self.format == ".csv" else ""
        return mark + header_line(row, self.columns, delimiter) + line

    def finish(self) -> None:
        """Rename the file to its final name, replacing an existing file."""
        os.fsync(self._file.fileno())
        self.close()
        if self.format in (".json", ".parquet"):
            self._convert()
        else:
            self.partial.replace(self.path)
        sync(self.path.parent)
        self.delete()

    def _convert(self) -> None:
        """Convert the lines of JSON to the final format."""
        converted = sibling(self.path, "converted")
        try:
            if self.format == ".parquet":
                write_parquet(converted, self._typed_rows, self.columns)
            else:
                _write_json(converted, self.partial)
            sync(converted)
            converted.replace(self.path)
        except BaseException:
            converted.unlink(missing_ok=True)
            raise

    def _typed_rows(self) -> Iterator[OutputRow]:
        with self.partial.open("rb") as file:
            yield from map(read_typed_line, file)

    def close(self) -> None:
        self._file.close()

    def delete(self) -> None:
        """Delete FILE.partial and its record."""
        self.partial.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)


@contextmanager
def open_writer(
    path: Path, columns: list[str], fingerprint: dict[str, Any] | None = None
) -> Iterator[RowWriter]:
    """Context with a writer of rows, in the format of the file extension.

    At the end of the block the file is complete; after an error it can be continued.

    Args:
        columns: Names of all columns in order; a row may lack some.
        fingerprint: Everything that determines the rows, as JSON values by name. None: the file
            cannot be continued, and an unfinished one is deleted.

    Raises:
        UserError: If the unfinished file has another fingerprint, or another process is writing it.
    """
    path = Path(os.path.realpath(path))
    with _lock(path):
        writer = RowWriter(path, columns, fingerprint)
        try:
            yield writer
            writer.finish()
        except BaseException as error:
            if isinstance(error, OSError):  # such as that of a full disk, which names no file
                error.filename = error.filename or str(path)
            writer.close()
            if fingerprint is None or not writer.num_rows:
                writer.delete()
            raise


def write_rows(path: Path, rows: Iterable[OutputRow], columns: list[str]) -> None:
    """Write the rows, completely or not at all, in the format of the file extension.

    Args:
        path: The file; an existing one is replaced after the last row has been written.
        rows: Mappings of column names to values, consumed one by one.
        columns: Names of all columns in order; a row may lack some.
    """
    with open_writer(path, columns) as writer:
        for row in rows:
            writer.append(row)


def partial_file(path: Path) -> Path:
    return sibling(path, "partial")


def record_file(path: Path) -> Path:
    return sibling(path, "partial.json")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock so that no other process writes the file. Raises UserError if one does."""
    lock = FileLock(sibling(path, "partial.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"--output: {path}: another process is writing this file; wait until it ends, or "
            "choose another name"
        ) from None
    except NotImplementedError:  # the file system has no locks
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except UnreadableJson:
        return None


def _check_fingerprint(
    partial: Path, num_rows: int, then: dict[str, Any] | None, now: dict[str, Any] | None
) -> None:
    """Raise UserError unless an unfinished file has the fingerprint `now`."""
    if then == now and now is not None:
        return
    differences = (
        "" if then is None or now is None else f" that differs in {_differences(then, now)}"
    )
    repeat = "" if then is None else "repeat that command to continue it, "
    raise UserError(
        f"{partial}: contains {count_of(num_rows, 'row')} of an interrupted command{differences}; "
        f"{repeat}delete the file, or choose another --output"
    )


def _differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """The names whose values differ, with the values if they are short."""
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return ", ".join(name + _values(then.get(name), now.get(name)) for name in names)


def _values(then: Any, now: Any) -> str:
    texts = [json_line(value) for value in (then, now)]
    if any(len(text) > 40 for text in texts):  # a checksum or a long text
        return ""
    return f" ({printable(texts[0])} then, {printable(texts[1])} now)"


def _complete_rows(partial: Path, suffix: str) -> tuple[int, int]:
    """Count the complete rows at the beginning of an unfinished file; returns (rows, bytes)."""
    if not os.path.lexists(partial):
        return 0, 0
    if partial.is_symlink() or not partial.is_file():
        raise UserError(f"{partial}: not a regular file; remove it, or choose another --output")
    is_table = suffix in DELIMITERS
    num_lines = num_bytes = size = 0
    is_quoted = False
    with partial.open("rb") as file:
        for line in file:
            if b"\0" in line:  # blocks that were not written before a power failure
                break
            size += len(line)
            is_quoted ^= is_table and line.count(b'"') % 2 == 1  # a line break inside a cell
            if line.endswith(b"\n") and not is_quoted:
                num_lines, num_bytes = num_lines + 1, size
    num_rows = num_lines - is_table  # without the header
    return (num_rows, num_bytes) if num_rows > 0 else (0, 0)


def _write_json(path: Path, lines: Path) -> None:
    """Convert a file of JSON lines to one JSON list."""
    with lines.open("rb") as source, path.open("wb") as target:
        separator = b"[\n"
        for line in source:
            target.write(separator + line.rstrip(b"\n"))
            separator = b",\n"
        target.write(b"\n]\n")
