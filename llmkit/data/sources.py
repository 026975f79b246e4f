"""Where rows come from: files, the hub or the package, mapped to the task's columns.

A split is a `Rows`: it can be read again and again, holds nothing in memory, and gives rows of
the task's columns only, each text checked. Encoding (encode.py) and scoring start from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from llmkit.config.schema import Data, Evaluation
from llmkit.data import splits as splits_of
from llmkit.data.column_mapping import Columns, check_columns, check_held_out_columns, columns_of
from llmkit.data.columns import MissingColumn, group_of, read_columns, row_id, shape_of
from llmkit.data.shapes import Shape
from llmkit.errors import UserError
from llmkit.io import row_files
from llmkit.io.row_files import Raw
from llmkit.paths import PACKAGE, expand, row_format, sha256
from llmkit.tasks import Row, Task, get_task, texts_of

SPLITS = ("train", "validation", "test")
MOST_UNREADABLE = 1000  # rows at the start of a split that are searched for a readable one
END_OF_DOCUMENT = "from the end of the text"  # how the end of one long text is held out
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
    keeps: Callable[[int, Row], bool] = lambda index, row: True
    """Whether a row, given its index, belongs to this split (where rows are held out)."""
    skips_unreadable: bool = False
    owns_unreadable: bool = True
    """Whether skipped rows count for this split; where rows are held out, only for train."""
    held_out: str = ""
    """How the rows were held out from the training rows; empty if they were not."""
    rows_in_quotes: Callable[[], list[str]] = list
    """Finds the places of quoted fields whose lines look like rows."""
    kept: tuple[str, ...] = ()
    """Places of training rows that were not held out because train needs their labels."""
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

    def texts(self) -> Iterator[str]:
        """The text in each column of each row."""
        return (text for row in self for text in texts_of(row, self.task))

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
            if self.keeps(index, row):
                yield {"id": row_id(raw, index), "where": where, **row}


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
    check_held_out_columns(data)
    skips_unreadable = skips_unreadable or data.skip_invalid
    splits = _open_named_and_held_out(data, task)
    for name, file in data.tests.items():
        rows = _rows_of(file, data, task, "test", f"data.tests.{name}")
        splits[name] = _with_shape(replace(rows, columns=columns_of(data, name)))
    for name in ("test", *data.tests):
        splits[name] = replace(splits[name], by=tuple(evaluation.by))
    for split, rows in splits.items():
        errors = []
        for row in rows.read_all():
            if not isinstance(row, UserError):
                break
            errors.append(row)
            if not skips_unreadable and len(errors) == MOST_UNREADABLE:
                raise _error_of(errors[0], split, rows)
        else:
            key = f"data.{split}" if split in SPLITS else f"data.tests.{split}"
            no_rows = UserError(f"{rows.source}: the {split} split has no rows; check {key}")
            raise _error_of(errors[0], split, rows) if errors else no_rows
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


def _error_of(error: UserError, split: str, rows: Rows) -> UserError:
    """The error of a split's first row; where train was read, other columns are its own."""
    if split == "train" or rows.held_out or not isinstance(error, MissingColumn):
        return error
    return error.of_split(split, rows.task)


def _with_way_out(error: UserError) -> UserError:
    """The error of a row that cannot be read, with advice on how to skip such rows."""
    return UserError(f"{error}; or skip such rows with data.skip_invalid=true")


def _with_shape(rows: Rows) -> Rows:
    """The rows, with the shape of the first row that has one."""
    if not rows.task.shapes:
        return rows
    first = (raw for _, raw in islice(rows.read(), MOST_UNREADABLE) if isinstance(raw, dict))
    shapes = (shape_of(raw, rows.task, rows.columns) for raw in first)
    return replace(rows, shape=next(filter(None, shapes), None))


def _open_named_and_held_out(data: Data, task: Task) -> dict[str, Rows]:
    """train, validation and test."""
    if data.train is None:
        folder = EMBEDDED_ROWS / task.name
        return {
            split: _with_shape(
                _rows_of_files(str(folder / f"{split}.jsonl"), data, task, split, "task")
            )
            for split in SPLITS
        }
    shares = {"validation": data.validation_fraction, "test": data.test_fraction}
    shares = {split: share for split, share in shares.items() if getattr(data, split) is None}
    splits = {
        split: _with_shape(_rows_of(getattr(data, split), data, task, split))
        for split in SPLITS
        if split not in shares
    }
    if shares:
        splits |= _hold_out(splits["train"], shares, data)
    return {split: splits[split] for split in SPLITS}


def _hold_out(train: Rows, shares: dict[str, float], data: Data) -> dict[str, Rows]:
    """train without the held-out rows, and the splits that these make up."""
    errors = []

    def readable() -> Iterator[Row]:
        for row in train.read_all():
            if isinstance(row, UserError):
                errors.append(row)
            else:
                yield row

    if data.held_out == "hash":
        advice = _advice_on_rows(train.source, data)
        try:
            held = splits_of.by_hash(readable(), train.task, shares, train.source, advice)
        except UserError:
            if errors and not data.skip_invalid:
                raise _with_way_out(errors[0]) from None
            raise
    else:
        is_text = row_format(expand(train.source)) == ".txt"
        if is_text and data.rows == "document" and len(list(islice(train.read(), 2))) == 1:
            return _hold_out_of_document(train, shares)
        held = splits_of.by_end(train.read_all, train.task, shares, train.source)

    def part(split: str) -> Rows:
        return replace(
            train,
            identity=lambda: f"{train.identity()} {split} of {held.identity}",
            keeps=lambda index, row: held.split_of(index, row) == split,
            owns_unreadable=split == "train",
            held_out=held.how if split in shares else "",
            rows_in_quotes=train.rows_in_quotes if split == "train" else list,
            kept=tuple(held.kept) if split == "train" else (),
        )

    return {split: part(split) for split in ("train", *shares)}


def _advice_on_rows(source: str, data: Data) -> str:
    """For a message about too few rows: another way to read the file."""
    if row_format(expand(source)) != ".txt" or data.rows == "line":
        return ""
    if data.rows == "paragraph":
        return "; if each line is a text, set data.rows=line"
    return "; data.held_out=end holds out the end of one long text"


def _hold_out_of_document(train: Rows, shares: dict[str, float]) -> dict[str, Rows]:
    """Hold out the end of one long text."""

    def part(split: str) -> Rows:
        def read() -> Iterator[Raw]:
            for where, row in train.read():
                if isinstance(row, UserError):
                    yield where, row
                    continue
                file, _, line = where.rpartition(":")
                text = row["text"]
                start, end = splits_of.cut_document(text, shares, train.source)[split]
                where = f"{file}:{int(line) + text.count(chr(10), 0, start)}"
                yield where, {"text": text[start:end].strip()}

        return replace(
            train,
            read=read,
            identity=lambda: f"{train.identity()} {split} of {shares}",
            held_out=END_OF_DOCUMENT if split in shares else "",
        )

    return {split: part(split) for split in ("train", *shares)}


def _rows_of(name: str, data: Data, task: Task, split: str, given_by: str | None = None) -> Rows:
    """given_by: the key that names the rows; None for the key of the split."""
    if data.hub is None:
        return _rows_of_files(name, data, task, split, given_by or f"data.{split}")
    from llmkit.io import hub

    read, commit = hub.open_dataset_split(
        data.hub, data.config, data.revision, name, data.streaming
    )
    source = f"{data.hub}@{commit} {name}"
    identity = f"{source} {data.config}"
    columns = columns_of(data, split)
    return Rows(source, read, task, columns, data.limit, lambda: identity)


def _rows_of_files(name: str, data: Data, task: Task, split: str, given_by: str) -> Rows:
    """split: the one to read from a folder with several splits."""
    paths = row_files.find(name, given_by, split)

    def read() -> Iterator[Raw]:
        for path in paths:
            yield from row_files.read_all(path, encoding=data.encoding, rows=data.rows)

    def identity() -> str:
        return " ".join([*map(sha256, paths), data.encoding or "", data.rows])

    def rows_in_quotes() -> list[str]:
        found = (row_files.rows_in_quotes(path, encoding=data.encoding) for path in paths)
        return [place for places in found for place in places]

    source = str(paths[0]) if len(paths) == 1 else str(expand(name))
    rows = Rows(source, read, task, columns_of(data, split), data.limit, identity)
    return replace(rows, rows_in_quotes=rows_in_quotes)


def _with_saved_splits(data: Data) -> Data:
    """The data, with validation and test from the folder of `data.train` if it has them."""
    if data.hub is not None or data.train is None:
        return data
    there = row_files.saved_splits(expand(data.train))
    names = {split for split in ("validation", "test") if row_files.pick_split(split, there)}
    found = {name: data.train for name in names if getattr(data, name) is None}
    return data.model_copy(update=found)


def open_general_text(name: str) -> Rows:
    """Texts that show what a model has forgotten: a file's, or the package's own."""
    if name == "embedded":
        name = str(EMBEDDED_ROWS / "pretrain" / "test.jsonl")
    return _rows_of_files(name, Data(), get_task("pretrain"), "test", "evaluation.general_text")
