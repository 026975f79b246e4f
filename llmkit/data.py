"""Where rows come from: files, the hub or the package, mapped to the task's columns.

A split is a `Rows`: it can be read again and again, holds nothing in memory, and gives rows of
the task's columns only, each text checked. Encoding (encode.py) and scoring start from it.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llmkit import files
from llmkit.errors import UserError, did_you_mean
from llmkit.recipe import PACKAGE
from llmkit.schema import Data
from llmkit.tasks import Row, Task

SPLITS = ("train", "validation", "test")
EMBEDDED_ROWS = PACKAGE / "embedded" / "rows"

Raw = tuple[str, dict[str, Any]]  # where a row stands (file:line), and its columns in the file


@dataclass(frozen=True)
class Rows:
    """One split of the data."""

    source: str
    """What is read, for messages and the run's record."""
    read: Callable[[], Iterator[Raw]]
    task: Task
    columns: dict[str, str]
    limit: int | None
    keeps: Callable[[Row], bool] = lambda row: True
    """Whether a row belongs to this split (where splits are made by hash)."""

    def __iter__(self) -> Iterator[Row]:
        return islice(self._all(), self.limit)

    def _all(self) -> Iterator[Row]:
        for index, (where, raw) in enumerate(self.read()):
            row = select_columns(raw, self.task, self.columns, where)
            if self.keeps(row):
                yield {"id": str(raw.get("id", index)), **row}


def open_splits(data: Data, task: Task) -> dict[str, Rows]:
    """train, validation and test of a recipe; UserError where one cannot be read or is empty."""
    for name in data.columns:
        if name not in task.columns:
            hint = did_you_mean(name, list(task.columns))
            raise UserError(
                f"data.columns.{name}: {task.name} has no such column{hint}; "
                f"it has {', '.join(task.columns)}"
            )
    splits = {split: _open_split(data, task, split) for split in SPLITS}
    for split, rows in splits.items():
        if next(iter(rows), None) is None:
            raise UserError(f"{rows.source}: the {split} split has no rows; name other data")
    return splits


def _open_split(data: Data, task: Task, split: str) -> Rows:
    name = getattr(data, split)
    if data.train is None:
        return _rows_of_file(EMBEDDED_ROWS / task.name / f"{split}.jsonl", data, task)
    if name is None:
        return _held_out(data, task, split)
    rows = _rows_of(name, data, task)
    return _held_out(data, task, split) if split == "train" else rows


def _held_out(data: Data, task: Task, split: str) -> Rows:
    """A share of the training rows, by the hash of their text, so that copies stay together."""
    shares = {
        "validation": 0.0 if data.validation else data.validation_fraction,
        "test": 0.0 if data.test else data.test_fraction,
    }
    rows = _rows_of(data.train, data, task)
    if not any(shares.values()):
        return rows

    def keeps(row: Row) -> bool:
        point = _hash_point(row)
        if point < shares["validation"]:
            return split == "validation"
        if point < shares["validation"] + shares["test"]:
            return split == "test"
        return split == "train"

    return Rows(rows.source, rows.read, task, rows.columns, data.limit, keeps)


def _hash_point(row: Row) -> float:
    """A number in [0, 1) that depends on the row's text alone."""
    digest = hashlib.sha256(repr(sorted(row.items())).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _rows_of(name: str, data: Data, task: Task) -> Rows:
    if data.hub is None:
        return _rows_of_file(Path(name).expanduser(), data, task)
    from llmkit import hub

    read, commit = hub.open_dataset_split(data, name)
    return Rows(f"{data.hub}@{commit} {name}", read, task, data.columns, data.limit)


def _rows_of_file(path: Path, data: Data, task: Task) -> Rows:
    files.check(path)
    return Rows(str(path), lambda: files.read(path), task, data.columns, data.limit)


# ------------------------------------------------------------------------------ columns


def select_columns(raw: dict[str, Any], task: Task, columns: dict[str, str], where: str) -> Row:
    """The task's columns out of a raw row: a text each, the target a text or a list of texts."""
    row = {}
    for name in task.columns:
        path = columns.get(name, name)
        value = _reach(raw, path, where, f"data.columns.{name}")
        is_list = name == task.target and isinstance(value, list | tuple)
        if not (isinstance(value, str) or (is_list and all(isinstance(v, str) for v in value))):
            kind = "a text or a list of texts" if name == task.target else "a text"
            raise UserError(
                f"{where}: column {path} must hold {kind}, not {type(value).__name__}; "
                f"mend the row, or name another column with data.columns.{name}"
            )
        row[name] = list(value) if is_list else value
    return row


def _reach(raw: Any, path: str, where: str, key: str) -> Any:
    """The value at a dotted path; through a list, the values of each of its items."""
    value = raw
    if path in raw:
        return raw[path]
    for part in path.split("."):
        if isinstance(value, list):
            value = [_step(item, part, path, where, key) for item in value]
        else:
            value = _step(value, part, path, where, key)
    return value


def _step(value: Any, part: str, path: str, where: str, key: str) -> Any:
    if isinstance(value, dict) and part in value:
        return value[part]
    there = ", ".join(map(str, value)) if isinstance(value, dict) else "no columns here"
    raise UserError(
        f"{where}: no column {path!r}; there are: {there}; name the right one with {key}=COLUMN"
    )
