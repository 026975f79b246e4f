"""Sources of raw rows: local files, a split of a hub data set, a part of one long text, or a folder
of prepared text.

Each kind of source has a `name` for messages and run.json, `read` for a new pass over its rows, an
`identity` that identifies its content, `rows_in_quotes`, and the number of rows and bytes of text,
if they are known without reading the source.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from llmkit.config.schema import Data
from llmkit.data.held_out import cut_document
from llmkit.data.prepared_text import (
    HeldOutText,
    PreparedSource,
    has_prepared_text,
    is_unfinished,
    open_part,
)
from llmkit.errors import UserError
from llmkit.io import row_files
from llmkit.io.arrow_rows import count_rows
from llmkit.io.known_files import remembered_sha256
from llmkit.io.row_files import Raw
from llmkit.paths import TEXT_FORMATS, expand, total_size

END_OF_DOCUMENT = "from the end of the text"  # how the end of one long text is held out


@dataclass(frozen=True)
class FileSource:
    """The rows of one or several files, in order."""

    name: str
    paths: tuple[Path, ...]
    encoding: str | None
    text_rows: str
    """Unit of a .txt file that counts as a row: `document`, `paragraph` or `line`."""

    def read(self) -> Iterator[Raw]:
        return chain.from_iterable(
            row_files.read_all(path, encoding=self.encoding, rows=self.text_rows)
            for path in self.paths
        )

    def identity(self) -> str:
        """SHA-256 of each file, and how it is read."""
        return " ".join([*map(remembered_sha256, self.paths), self.encoding or "", self.text_rows])

    def num_rows(self) -> int | None:
        counts = [count_rows(path) for path in self.paths]
        return None if None in counts else sum(counts)

    def num_text_bytes(self) -> int | None:
        """Total size of the files if they are in a text format, where it approximates the text."""
        if any(path.suffix.lower() not in TEXT_FORMATS for path in self.paths):
            return None
        return total_size(self.paths)

    def rows_in_quotes(self) -> list[str]:
        """Locations of quoted fields whose lines look like separate rows."""
        found = (row_files.rows_in_quotes(path, encoding=self.encoding) for path in self.paths)
        return list(chain.from_iterable(found))


@dataclass(frozen=True)
class HubSource:
    """The rows of a split of a hub data set at one commit."""

    name: str
    config: str | None
    commit: str | None
    open: Callable[[], Iterator[Raw]]

    def read(self) -> Iterator[Raw]:
        return self.open()

    def identity(self) -> str:
        return f"{self.name} {self.config}"

    def num_rows(self) -> int | None:
        return None

    def num_text_bytes(self) -> int | None:
        return None

    def rows_in_quotes(self) -> list[str]:
        return []


@dataclass(frozen=True)
class DocumentPart:
    """The part of one long text that belongs to a split."""

    document: FileSource
    split: str
    shares: dict[str, float]
    """Share of each held-out split; the remaining text belongs to train."""

    @property
    def name(self) -> str:
        return self.document.name

    def read(self) -> Iterator[Raw]:
        for where, row in self.document.read():
            if isinstance(row, UserError):
                yield where, row
                continue
            file, _, line = where.rpartition(":")
            text = row["text"]
            start, end = cut_document(text, self.shares, self.name)[self.split]
            where = f"{file}:{int(line) + text.count(chr(10), 0, start)}"
            yield where, {"text": text[start:end].strip()}

    def identity(self) -> str:
        return f"{self.document.identity()} {self.split} of {self.shares}"

    def num_rows(self) -> int | None:
        return 1

    def num_text_bytes(self) -> int | None:
        return self.document.num_text_bytes()

    def rows_in_quotes(self) -> list[str]:
        return []


Source = FileSource | HubSource | DocumentPart | PreparedSource | HeldOutText


def open_source(name: str, data: Data, split: str, given_by: str) -> Source:
    """Open the source that a recipe names for a split.

    Args:
        name: A file, a pattern, a folder, or a split of the hub data set.
        data: The `data` section of the recipe.
        split: Split to read from a folder that contains several.
        given_by: Recipe key that contains the name, for messages.
    """
    if data.hub is None:
        folder = expand(name)
        if is_unfinished(folder):
            raise UserError(
                f"{given_by}: {folder}: the preparation of this folder is not finished; run "
                "`llmkit prepare` again with the same arguments"
            )
        if has_prepared_text(folder):
            return open_part(folder, split, given_by)
        paths = row_files.find(name, given_by, split)
        shown = str(paths[0]) if len(paths) == 1 else str(expand(name))
        return FileSource(shown, tuple(paths), data.encoding, data.rows)
    from llmkit.io import hub

    read, commit = hub.open_dataset_split(
        data.hub, data.config, data.revision, name, data.streaming
    )
    return HubSource(f"{data.hub}@{commit} {name}", data.config, commit, read)
