"""Where rows come from: files, the hub or the package, mapped to the task's columns.

A split is a `Rows`: it can be read again and again, holds nothing in memory, and gives rows of
the task's columns only, each text checked. Encoding (encode.py) and scoring start from it.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from llmkit import files
from llmkit.errors import UserError, did_you_mean
from llmkit.files import Raw
from llmkit.labels import label_text
from llmkit.recipe_files import PACKAGE
from llmkit.schema import Data, Evaluation
from llmkit.tasks import Row, Task, get_task

SPLITS = ("train", "validation", "test")
EMBEDDED_ROWS = PACKAGE / "embedded" / "rows"


@dataclass(frozen=True)
class Rows:
    """One split of the data."""

    source: str
    """What is read, for messages and the run's record."""
    read: Callable[[], Iterator[Raw]]
    task: Task
    columns: dict[str, str]
    limit: int | None
    """Read only the first rows."""
    identity: Callable[[], str]
    """What tells this split from any other: the sha256 of its file, or its commit on the hub."""
    keeps: Callable[[Row], bool] = lambda row: True
    """Whether a row belongs to this split (where splits are made by hash)."""
    skips_unreadable: bool = False
    owns_unreadable: bool = True
    """Whether skipped rows count as this split's; of splits by hash they are train's alone."""
    first: int | None = None
    """Give only so many rows, the first that belong to this split."""
    by: tuple[str, ...] = ()
    """Further columns, given as `by`: what rows are grouped by when they are scored."""

    def __iter__(self) -> Iterator[Row]:
        """The rows; raises UserError at the first that cannot be read, unless told otherwise."""
        for row in self.read_all():
            if not isinstance(row, UserError):
                yield row
            elif not self.skips_unreadable:
                raise row

    def read_all(self) -> Iterator[Row | UserError]:
        """The rows, and in place of one that cannot be read what is wrong with it."""
        num_given = 0
        for row in self._all():
            yield row
            num_given += not isinstance(row, UserError)
            if num_given == self.first:
                return

    def _all(self) -> Iterator[Row | UserError]:
        for index, (where, raw) in enumerate(islice(self.read(), self.limit)):
            try:
                if isinstance(raw, UserError):
                    raise raw
                row = select_columns(raw, self.task, self.columns, where)
                if self.by:
                    row |= {"by": {column: _group(raw, column, where) for column in self.by}}
            except UserError as error:
                if self.owns_unreadable or not self.skips_unreadable:
                    yield error
                continue
            if self.keeps(row):
                yield {"id": str(raw.get("id", index)), "where": where, **row}


def open_splits(
    data: Data,
    task: Task,
    evaluation: Evaluation | None = None,
    *,
    skips_unreadable: bool = False,
) -> dict[str, Rows]:
    """train, validation, test and further tests of a recipe; UserError where one is empty or its
    first row bad.

    evaluation: how many rows of a split are scored, and by which columns; None: all, by none.
    """
    evaluation = evaluation or Evaluation()
    data = _with_saved_splits(data)
    for name in data.columns:
        if name not in task.columns:
            hint = did_you_mean(name, list(task.columns))
            raise UserError(
                f"data.columns.{name}: {task.name} has no such column{hint}; "
                f"it has {', '.join(task.columns)}"
            )
    splits = {split: _open_split(data, task, split) for split in SPLITS}
    splits |= {name: _rows_of(file, data, task, "test") for name, file in data.tests.items()}
    for name in ("test", *data.tests):
        splits[name] = replace(splits[name], by=tuple(evaluation.by))
    for split, rows in splits.items():
        errors = []
        for row in rows.read_all():
            if not isinstance(row, UserError):
                break
            if not skips_unreadable:
                raise row
            errors.append(row)
        else:
            no_rows = UserError(f"{rows.source}: the {split} split has no rows; name other data")
            raise next(iter(errors), no_rows)
    return {
        split: replace(
            rows,
            skips_unreadable=skips_unreadable,
            first=evaluation.limits.get("test" if split in data.tests else split),
        )
        for split, rows in splits.items()
    }


def _open_split(data: Data, task: Task, split: str) -> Rows:
    name = getattr(data, split)
    if data.train is None:
        path = EMBEDDED_ROWS / task.name / f"{split}.jsonl"
        return _rows_of_files(str(path), data, task, split)
    if name is None:
        return _held_out(data, task, split)
    rows = _rows_of(name, data, task, split)
    return _held_out(data, task, split) if split == "train" else rows


def _held_out(data: Data, task: Task, split: str) -> Rows:
    """A share of the training rows, by the hash of their source: copies stay together."""
    shares = {
        "validation": 0.0 if data.validation else data.validation_fraction,
        "test": 0.0 if data.test else data.test_fraction,
    }
    rows = _rows_of(data.train, data, task, "train")
    if not any(shares.values()):
        return rows

    def keeps(row: Row) -> bool:
        point = _hash_point(row[task.long_input])
        if point < shares["validation"]:
            return split == "validation"
        if point < shares["validation"] + shares["test"]:
            return split == "test"
        return split == "train"

    def identity() -> str:
        return f"{rows.identity()} {split} of {shares}"

    return replace(rows, identity=identity, keeps=keeps, owns_unreadable=split == "train")


def _hash_point(text: str | list[str]) -> float:
    """A number in [0, 1) that depends on the text alone."""
    digest = hashlib.sha256(repr(text).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _rows_of(name: str, data: Data, task: Task, split: str) -> Rows:
    if data.hub is None:
        return _rows_of_files(name, data, task, split)
    from llmkit import hub

    read, commit = hub.open_dataset_split(data, name)
    source = f"{data.hub}@{commit} {name}"
    identity = f"{source} {data.config}"
    return Rows(source, read, task, data.columns, data.limit, lambda: identity)


def _rows_of_files(
    name: str, data: Data, task: Task, split: str, given_by: str = "data.train and other splits"
) -> Rows:
    """split: which one is wanted of a folder with several."""
    paths = files.find(name, given_by, split)

    def read() -> Iterator[Raw]:
        for path in paths:
            yield from files.read_all(path, encoding=data.encoding, rows=data.rows)

    def identity() -> str:
        return " ".join([*map(files.sha256, paths), data.encoding or "", data.rows])

    source = str(paths[0]) if len(paths) == 1 else str(files.expand(name))
    return Rows(source, read, task, data.columns, data.limit, identity)


def _with_saved_splits(data: Data) -> Data:
    """The data, validation and test from the folder of `data.train` where it has them too."""
    if data.hub is not None or data.train is None:
        return data
    there = files.saved_splits(files.expand(data.train))
    names = {split for split in ("validation", "test") if files.pick_split(split, there)}
    found = {name: data.train for name in names if getattr(data, name) is None}
    return data.model_copy(update=found)


def open_general_text(name: str) -> Rows:
    """Texts to see by what a model has forgotten: a file's, or the package's own."""
    if name == "embedded":
        name = str(EMBEDDED_ROWS / "pretrain" / "test.jsonl")
    return _rows_of_files(name, Data(), get_task("pretrain"), "test", "evaluation.general_text")


# ------------------------------------------------------------------------------ columns


def _group(raw: dict[str, Any], column: str, where: str) -> str:
    if column not in raw:
        raise UserError(
            f"{where}: no column {column!r} for evaluation.by; there are: {_names(raw)}"
        )
    return files.shown(str(raw[column]), 60)


def select_columns(raw: dict[str, Any], task: Task, columns: dict[str, str], where: str) -> Row:
    """The task's columns out of a raw row: a text each, the target a text or a list of texts."""
    row = select_inputs(raw, task, columns, where)
    value = _reach(raw, task.target, columns, where)
    if task.read_row is not None:
        _check_readable(value, task, columns, where)
        return {**row, task.target: value}
    if task.chooses and value != []:
        value = _label_text(value, task, columns, where)
    texts = list(value) if isinstance(value, list | tuple) else [value]
    if not texts:
        column = columns.get(task.target, task.target)
        raise UserError(
            f"{where}: column {column} is an empty list; a row needs at least one accepted text: "
            "leave the row out"
        )
    for text in texts:
        _check_text(text, task.target, columns, where)
    if isinstance(raw.get("id"), str):  # it is written down with the prediction
        _check_text(raw["id"], "id", {}, where)
    return {**row, task.target: value if isinstance(value, str) else texts}


def select_inputs(
    raw: dict[str, Any], task: Task, columns: dict[str, str], where: str
) -> dict[str, str]:
    """What the prompt is made of: a text each."""
    row = {name: _reach(raw, name, columns, where) for name in task.inputs}
    for name, text in row.items():
        _check_text(text, name, columns, where)
    return row


def _label_text(value: Any, task: Task, columns: dict[str, str], where: str) -> str:
    try:
        return label_text(value)
    except ValueError as error:
        column = columns.get(task.target, task.target)
        raise UserError(
            f"{where}: column {column} {error}; fix the row, or name another column with "
            f"data.columns.{task.target}"
        ) from None


def _check_readable(value: Any, task: Task, columns: dict[str, str], where: str) -> None:
    """Raise UserError unless the task makes an example of it that is text all over."""
    column = columns.get(task.target, task.target)
    try:
        segments, answer = task.read_row(value)
    except ValueError as error:
        raise UserError(f"{where}: column {column} {error}") from None
    for text in (*(segment.text for segment in segments), answer):
        _check_text(text, task.target, columns, where)


def _check_text(text: Any, name: str, columns: dict[str, str], where: str) -> None:
    column = columns.get(name, name)
    if not isinstance(text, str):
        raise UserError(
            f"{where}: column {column} must hold a text, not {type(text).__name__}; mend the row, "
            f"or name another column with data.columns.{name}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where}: column {column} holds half a character (a lone surrogate); mend the row"
        ) from None


def _reach(raw: dict[str, Any], name: str, columns: dict[str, str], where: str) -> Any:
    """The value of a task's column; a dotted path descends, through a list into each item."""
    path = columns.get(name, name)
    if path in raw:
        return raw[path]
    value: Any = raw
    for part in path.split("."):
        items = value if isinstance(value, list) else [value]
        for item in items:
            if not isinstance(item, dict) or part not in item:
                there = _names(item) if isinstance(item, dict) else "no columns here"
                raise UserError(
                    f"{where}: no column {path!r}; there are: {there}; name the right one with "
                    f"data.columns.{name}=COLUMN"
                )
        value = [item[part] for item in items] if isinstance(value, list) else value[part]
    return value


def _names(columns: dict[str, Any]) -> str:
    """For a message; quoted where white space would not be seen."""
    names = (name if name and name == name.strip() else repr(name) for name in columns)
    return files.shown(", ".join(names)) or "none"
