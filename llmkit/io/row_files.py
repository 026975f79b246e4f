"""Rows of local files of any format. Every error names the file and the physical line.

In place of a row that cannot be read, a reader yields the UserError and continues with the next
row; if a file as a whole cannot be read, it raises the error.
"""

import glob
import os
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from llmkit.errors import UserError, printable
from llmkit.io import delimited
from llmkit.io.arrow_rows import is_saved, read_arrow, read_parquet, saved_files, saved_splits
from llmkit.io.delimited import read_table
from llmkit.io.json_rows import read_json, read_jsonl
from llmkit.io.text_lines import MAX_TEXT_CHARACTERS, Raw, lines, whole_text
from llmkit.paths import COMPRESSIONS, expand, row_format
from llmkit.units import show_bytes

DEFAULT_TEXT_ROWS = "paragraph"  # what makes a row of a .txt file
SPLIT_ALIASES = {"validation": ("valid", "val", "dev")}
SPLIT_PREFIX = re.compile(r"(train|valid|validation|dev|test)\b|(train|validation|test)[-_.]", re.I)


def check(path: Path, given_by: str) -> None:
    """Raise UserError unless the file exists and has a format that can be read.

    given_by: the key or option that named it.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{printable(str(path))}: a name that is not UTF-8; rename the file"
        ) from None
    # os.path, since Path.exists raises if a name is too long
    if not os.path.exists(path):
        raise UserError(f"{path}: no such file; check {given_by}")
    if not os.path.isfile(path):
        raise UserError(f"{path}: a folder or a device, not a file; check {given_by}")
    if row_format(path) is None:
        raise UserError(
            f"{path}: unknown file format; {_advice_for(path)}rows can be {', '.join(READERS)}, "
            f"text also compressed ({', '.join(COMPRESSIONS)}); check {given_by}"
        )
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: no permission to read it; change that, or check {given_by}")


def _advice_for(path: Path) -> str:
    match [suffix.lower() for suffix in path.suffixes[-2:]]:
        case [*_, ".xlsx" | ".xls" | ".ods"]:
            return "save the sheet as CSV UTF-8; "
        case [*_, ".zip" | ".tar" | ".tgz" | ".7z"] | [".tar", _]:
            return "unpack it; "
        case [".parquet" | ".arrow" | ".feather", suffix] if suffix in COMPRESSIONS:
            return "decompress it; "
    return ""


def find(name: str, given_by: str, split: str | None = None) -> list[Path]:
    """The files that a name stands for, in order: one file, the matches of a pattern such as
    `part-*.parquet`, or the files in a folder.

    Args:
        given_by: The key or option that holds the name, for messages.
        split: The split to read from a folder that `DatasetDict.save_to_disk` wrote.

    Raises:
        UserError: There are no such files, or one cannot be read.
    """
    if not name.strip():  # an unset shell variable; Path("") is the working directory
        raise UserError(f"{given_by}: empty file name; give a path, or remove the key")
    path = expand(name)
    if os.path.isdir(path):
        return _find_in_folder(path, given_by, split)
    paths = [path]
    if not os.path.exists(path) and glob.has_magic(name):
        paths = [Path(found) for found in sorted(glob.glob(str(path), recursive=True))]
        if not paths:
            raise UserError(f"{path}: no file matches this pattern; check {given_by}")
    for each in paths:
        check(each, given_by)
    return paths


def pick_split(split: str | None, there: list[str]) -> str | None:
    """The name under which a folder holds the wanted split; None if it does not."""
    return next((name for name in (split, *SPLIT_ALIASES.get(split, ())) if name in there), None)


def _find_in_folder(folder: Path, given_by: str, split: str | None) -> list[Path]:
    splits = saved_splits(folder)
    if splits:
        split = pick_split(split, splits)
        if split is None:
            raise UserError(
                f"{folder}: the wanted split is not among {', '.join(splits)}; name the folder of "
                f"one of them, such as {folder / splits[0]}, in {given_by}"
            )
        if not (folder / split).resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"{folder / split}: a link that points outside the folder; save the data again"
            )
        folder /= split
        if not is_saved(folder):
            raise UserError(f"{folder}: no saved rows there; copy or save the folder again")
    if is_saved(folder):
        return saved_files(folder)
    there = (path for path in folder.iterdir() if not path.name.startswith("."))  # as glob does
    paths = sorted(path for path in there if row_format(path) is not None)
    if not paths:
        raise UserError(
            f"{folder}: no data files in this folder; name a file, a pattern such as "
            f"'{folder}/**/*.jsonl', or a folder written by save_to_disk of datasets; check "
            f"{given_by}"
        )
    if any(SPLIT_PREFIX.match(path.name) for path in paths) or len(set(map(row_format, paths))) > 1:
        raise UserError(
            f"{folder}: files of several splits or formats; name the ones to read, such as "
            f"'{folder}/train*{row_format(paths[0])}'; check {given_by}"
        )
    for path in paths:
        check(path, given_by)
    return paths


def read(
    path: Path, *, encoding: str | None = None, rows: str = DEFAULT_TEXT_ROWS
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, columns) of each row; raises UserError at the first row that cannot be read."""
    for where, row in read_all(path, encoding=encoding, rows=rows):
        if isinstance(row, UserError):
            raise row
        yield where, row


def read_all(
    path: Path, *, encoding: str | None = None, rows: str = DEFAULT_TEXT_ROWS
) -> Iterator[Raw]:
    """(file:line, columns or what is wrong with them) of each row.

    Args:
        encoding: Encoding of text files; None: UTF-8, or UTF-16 if the first bytes show it.
        rows: What makes a row of a .txt file: the whole `document`, a `paragraph` or a `line`.
    """
    kind = row_format(path)
    return read_txt(path, encoding, rows) if kind == ".txt" else READERS[kind](path, encoding)


def rows_in_quotes(path: Path, *, encoding: str | None = None) -> list[str]:
    """Locations of quoted fields in a csv or tsv file whose lines each look like a row."""
    usual = {".csv": ",", ".tsv": "\t"}.get(row_format(path))
    return [] if usual is None else delimited.rows_in_quotes(path, usual, encoding)


def read_txt(
    path: Path, encoding: str | None = None, rows: str = DEFAULT_TEXT_ROWS
) -> Iterator[Raw]:
    """Rows with a column `text`. Blank lines separate paragraphs; line breaks inside are kept."""
    if rows == "document":
        text = whole_text(path, encoding)
        if text.strip():
            start = len(text) - len(text.lstrip())
            yield f"{path}:{text.count(chr(10), 0, start) + 1}", {"text": text.strip()}
        return
    parts: list[str] = []
    bad: list[UserError] = []
    start = num_characters = 0
    for number, line, error in chain(lines(path, encoding), [(0, "", None)]):
        if error is not None:
            bad.append(error)
        if line.strip():
            start = start if parts else number
            parts.append(line)
            num_characters += len(line)
            if num_characters > MAX_TEXT_CHARACTERS:
                what, advice = (
                    ("paragraph", "if each line is a text, set data.rows=line")
                    if len(parts) > 1
                    else ("line", "break it up, or set data.rows=document if the file is one text")
                )
                size = show_bytes(MAX_TEXT_CHARACTERS)
                raise UserError(f"{path}:{start}: a {what} of more than {size}; {advice}")
            if rows == "paragraph":
                continue
        if parts:
            yield f"{path}:{start}", bad[0] if bad else {"text": "".join(parts).strip()}
            parts, bad, num_characters = [], [], 0


def _read_csv(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    return read_table(path, ",", encoding)


def _read_tsv(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    return read_table(path, "\t", encoding)


Reader = Callable[[Path, str | None], Iterator[Raw]]
TEXT_READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": read_txt,
}
READERS: dict[str, Reader] = {
    **TEXT_READERS,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
}
