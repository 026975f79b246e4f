"""Rows of one split of the data, converted to a task's columns as they are read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from llmkit.config.data_section import RowSource
from llmkit.data.column_mapping import Columns
from llmkit.data.columns import group_of, read_columns, row_id
from llmkit.data.held_out import Assignment
from llmkit.data.shapes import Shape
from llmkit.data.sources import END_OF_DOCUMENT, DocumentPart, Source
from llmkit.errors import UserError
from llmkit.tasks import Row, Task, texts_of


@dataclass(frozen=True)
class Rows:
    """One split of the data. Each iteration reads the source again; no rows are held in memory."""

    split: str
    source: Source
    task: Task
    columns: Columns
    limit: int | None
    """Read only this many rows of the source."""
    shape: Shape | None = None
    """Recognized shape of the rows, for tasks that read instruction data."""
    assignment: Assignment | None = None
    """Assignment of the source's rows to splits; None: all of them belong to this one."""
    first: int | None = None
    """Yield only the first rows of the split."""
    by: tuple[str, ...] = ()
    """Columns that rows are grouped by when they are scored; their values are the row's `by`."""
    skips_unreadable: bool = False
    section: str = "data"
    """Section of the recipe that names the rows, for messages."""
    mixed: dict[str, "MixedIn"] = field(default_factory=dict)
    """Further sets of `data.mix` by name, for the training rows."""

    def __iter__(self) -> Iterator[Row]:
        """Yields the rows; raises UserError for a row that cannot be read, unless such rows are
        skipped."""
        for row in self.read_all():
            if not isinstance(row, UserError):
                yield row
            elif not self.skips_unreadable:
                raise with_skip_advice(row)

    def read_all(self) -> Iterator[Row | UserError]:
        """Yields the rows, with an error in place of each row that cannot be read."""
        num_yielded = 0
        for index, (where, raw) in enumerate(islice(self.source.read(), self.limit)):
            row = self.convert(index, where, raw)
            if not self._owns(index, row):
                continue
            yield row
            num_yielded += not isinstance(row, UserError)
            if num_yielded == self.first:
                return

    def convert(self, index: int, where: str, raw: dict | UserError) -> Row | UserError:
        """Convert a raw row of the source to the columns of the task.

        index: Index of the row in the source.
        """
        if isinstance(raw, UserError):
            return in_section(raw, self.section)
        try:
            row = read_columns(raw, self.task, self.columns, self.shape, where)
            if self.by:
                row |= {"by": {column: group_of(raw, column, where) for column in self.by}}
        except UserError as error:
            return in_section(error, self.section)
        return {"id": row_id(raw, index), "where": where, **row}

    def _owns(self, index: int, row: Row | UserError) -> bool:
        """Whether a row of the source belongs to this split; one that cannot be read belongs to
        every split, unless it is skipped: then it is reported once."""
        if isinstance(row, UserError):
            return self.reports_source or not self.skips_unreadable
        return self.split_of(index, row) == self.split

    def split_of(self, index: int, row: Row) -> str:
        """The split that a row of the source belongs to."""
        return self.split if self.assignment is None else self.assignment.split_of(index, row)

    @property
    def reports_source(self) -> bool:
        """Whether problems of the source are reported for this split: where several splits share
        the source, only for train."""
        return self.assignment is None or self.split == "train"

    @property
    def held_out(self) -> str:
        """Description of how these rows were held out from the training rows; else empty."""
        if self.split == "train":
            return ""
        if isinstance(self.source, DocumentPart):
            return END_OF_DOCUMENT
        return self.assignment.how if self.assignment else ""

    @property
    def kept_in_train(self) -> list[str]:
        """Locations of training rows that were not held out because train needs their labels."""
        return self.assignment.kept_in_train if self.assignment and self.split == "train" else []

    def texts(self) -> Iterator[str]:
        """Yields the text of each column of each row."""
        return (text for row in self for text in texts_of(row, self.task))

    def identity(self) -> str:
        """Text that identifies the content of the source and the split."""
        identity = self.source.identity()
        if self.assignment is None:
            return identity
        return f"{identity} {self.split} of {self.assignment.identity}"

    def rows_in_quotes(self) -> list[str]:
        """Locations of quoted fields in the source whose lines look like separate rows."""
        return self.source.rows_in_quotes() if self.reports_source else []


@dataclass(frozen=True)
class MixedIn:
    """A further set of training rows."""

    rows: Rows
    share: float
    """Share of the tokens of each epoch."""


SOURCE_KEYS = re.compile(rf"\bdata\.({'|'.join([*RowSource.model_fields, 'train'])})\b")


def in_section(error: UserError, section: str) -> UserError:
    """The error, with keys of the section that names its row in place of those of `data`."""
    if section == "data":
        return error
    return UserError(SOURCE_KEYS.sub(rf"{section}.\1", str(error)))


def with_skip_advice(error: UserError) -> UserError:
    """The error of a row that cannot be read, with advice on how to skip such rows."""
    return UserError(f"{error}; or skip such rows with data.skip_invalid=true")
