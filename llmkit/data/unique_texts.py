"""Remove duplicates from documents while they are prepared; see data/duplicate_filter.py.

Each part of an unfinished folder stores the digests of the documents that it keeps, so that a
restart computes digests only for the remaining documents.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.data.cache import identity_of
from llmkit.data.duplicate_filter import (
    CHUNK_ROWS,
    DuplicateFilter,
    RemovedDuplicates,
    num_digests,
    row_digests,
    version_of,
)
from llmkit.data.rows import Rows
from llmkit.data.text_chunks import Chunk, Document, read_documents
from llmkit.io.atomic import HashedFile

HELD_OUT_DIGESTS = "held-out.npy"  # in an unfinished folder


@dataclass(frozen=True)
class Removal:
    """Duplicates to remove from the training documents."""

    kind: RemovedDuplicates
    held_out: list[Rows]
    """Rows of other sources that training documents must not repeat."""

    def identity(self) -> list[Any]:
        """Everything that the result depends on."""
        return [self.kind, version_of(self.kind), *map(identity_of, self.held_out)]


def open_filter(
    folder: Path, num_parts: int, splits: dict[str, Rows], removal: Removal
) -> DuplicateFilter:
    """Create a filter that contains the held-out documents and the finished parts of a folder."""
    kept = DuplicateFilter(num_digests(removal.kind))
    path = folder / HELD_OUT_DIGESTS
    if not path.is_file():
        partial = path.with_name(f"{path.name}.partial")
        write_digests(partial, list(_digests(_held_out_texts(splits, removal), removal.kind)))
        partial.rename(path)
    for number in range(num_parts):
        kept.add(np.load(folder / digests_name(number)))
    kept.add(np.load(path))
    return kept


def digests_name(part: int) -> str:
    return f"digests-{part:05}.npy"


def write_digests(path: Path, digests: list[np.ndarray]) -> dict[str, Any]:
    """Write arrays of digests (N, num_digests) into one file; returns its manifest entry."""
    content = io.BytesIO()
    np.save(content, np.concatenate(digests))
    file = HashedFile(path)
    file.write(content.getvalue())
    return file.close()


def without_duplicates(
    chunks: Iterator[Chunk], kept: DuplicateFilter, kind: RemovedDuplicates
) -> Iterator[Chunk]:
    """Yields the chunks with duplicates marked as removed, and the digests of the other training
    documents."""
    with closing(chunks):
        for chunk in chunks:
            indices = [i for i, document in enumerate(chunk.documents) if _is_compared(document)]
            digests = row_digests([[chunk.documents[i].text] for i in indices], kind)
            outcomes = kept.outcomes(digests)
            documents = list(chunk.documents)
            for index, outcome in zip(indices, outcomes, strict=True):
                if outcome is not None:
                    documents[index] = replace(documents[index], removed_as=outcome)
            is_kept = np.array([outcome is None for outcome in outcomes], bool)
            yield replace(chunk, documents=documents, digests=digests[is_kept])


def _is_compared(document: Document) -> bool:
    return document.split == "train" and document.error is None


def _held_out_texts(splits: dict[str, Rows], removal: Removal) -> Iterator[str]:
    if len(splits) > 1:
        for document in read_documents(splits, 0):
            if document.split != "train":
                yield document.text
    yield from chain.from_iterable(rows.texts() for rows in removal.held_out)


def _digests(texts: Iterable[str], kind: RemovedDuplicates) -> Iterator[np.ndarray]:
    texts = iter(texts)
    yield np.zeros((0, num_digests(kind)), np.uint64)
    while chunk := list(islice(texts, CHUNK_ROWS)):
        yield row_digests([[text] for text in chunk], kind)
