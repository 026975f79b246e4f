"""Where rows come from: files, the hub or the package, mapped to the task's columns.

A split is a `Rows`: it can be read again and again, holds nothing in memory, and gives rows of
the task's columns only, each text checked. Encoding (encode.py) and scoring start from it.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from llmkit import files
from llmkit.columns import Columns, check_columns, columns_of, group_of, read_columns, shape_of
from llmkit.errors import UserError
from llmkit.files import Raw
from llmkit.recipe_files import PACKAGE
from llmkit.schema import Data, Evaluation
from llmkit.shapes import Shape
from llmkit.tasks import Row, Task, get_task

SPLITS = ("train", "validation", "test")
MOST_UNREADABLE = 1000  # at the start of a split; then no readable row is looked for
EMBEDDED_ROWS = PACKAGE / "embedded" / "rows"


@dataclass(frozen=True)
class Rows:
    """One split of the data."""

    source: str
    """What is read, for messages and the run's record."""
    read: Callable[[], Iterator[Raw]]
    task: Task
    columns: Columns
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
    shape: Shape | None = None
    """The shape of instruction data that its rows have, if the task reads such rows."""

    def __iter__(self) -> Iterator[Row]:
        """The rows; raises UserError at the first that cannot be read, unless told otherwise."""
        for row in self.read_all():
            if not isinstance(row, UserError):
                yield row
            elif not self.skips_unreadable:
                raise _with_way_out(row)

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
                row = read_columns(raw, self.task, self.columns, self.shape, where)
                if self.by:
                    row |= {"by": {column: group_of(raw, column, where) for column in self.by}}
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
    check_columns(data, task)
    skips_unreadable = skips_unreadable or data.skip_invalid
    splits = {split: _open_split(data, task, split) for split in SPLITS}
    for name, file in data.tests.items():
        rows = _rows_of(file, data, task, "test")
        splits[name] = replace(rows, columns=columns_of(data, name))
    splits = {name: _with_shape(rows) for name, rows in splits.items()}
    for name in ("test", *data.tests):
        splits[name] = replace(splits[name], by=tuple(evaluation.by))
    for split, rows in splits.items():
        errors = []
        for row in rows.read_all():
            if not isinstance(row, UserError):
                break
            errors.append(row)
            if not skips_unreadable and len(errors) == MOST_UNREADABLE:
                raise errors[0]
        else:
            no_rows = UserError(f"{rows.source}: the {split} split has no rows; name other data")
            raise next(iter(errors), no_rows)
        if errors and not skips_unreadable:
            raise _with_way_out(errors[0])
    return {
        split: replace(
            rows,
            skips_unreadable=skips_unreadable,
            first=evaluation.limits.get("test" if split in data.tests else split),
        )
        for split, rows in splits.items()
    }


def _with_way_out(error: UserError) -> UserError:
    """Of a row that cannot be read: the error, and how to leave such rows out."""
    return UserError(f"{error}; or leave such rows out with data.skip_invalid=true")


def _with_shape(rows: Rows) -> Rows:
    """The rows with the shape of the first that can be read."""
    first = next((raw for _, raw in rows.read() if not isinstance(raw, UserError)), {})
    return replace(rows, shape=shape_of(first, rows.task, rows.columns))


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
        texts = [row[name] for name in task.source]
        point = _hash_point(texts[0] if len(texts) == 1 else texts)
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
    columns = columns_of(data, split)
    return Rows(source, read, task, columns, data.limit, lambda: identity)


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
    return Rows(source, read, task, columns_of(data, split), data.limit, identity)


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
