"""Read the rows of a source in chunks of documents, and tokenize each chunk on all cores."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from llmkit.data.rows import Rows, with_skip_advice
from llmkit.errors import UserError

SHARD_BYTES = 2**28  # a shard ends after this many bytes of text
SHARD_ROWS = 2**20  # a shard ends after this many rows, even if they are short
CHUNK_BYTES = 2**21  # bytes of text that are tokenized together; the encodings take 100 MB
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Document:
    """A row of the source, or the error of a row that cannot be read."""

    split: str
    where: str
    text: str
    id: str = ""
    by: dict[str, str] = field(default_factory=dict)
    """Values of the columns of evaluation.by."""
    error: UserError | None = None
    removed_as: str | None = None
    """Outcome of a document that is removed as a duplicate."""

    @cached_property
    def num_bytes(self) -> int:
        """Length of the text in UTF-8 bytes."""
        return len(self.text) if self.text.isascii() else len(self.text.encode())


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows that are tokenized together."""

    documents: list[Document]
    end: int
    """Index in the source of the row after the chunk."""
    ends_part: bool
    digests: np.ndarray | None = None
    """Digests of the training documents that are kept, one row per document, if duplicates are
    removed."""


def tokenize(
    chunks: Iterator[Chunk], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Chunk, list[Any]]]:
    """Yields each chunk with the encodings of its documents. Text in documents never becomes a
    special token."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    with closing(chunks):
        for chunk in chunks:
            texts = ["" if document.removed_as else document.text for document in chunk.documents]
            yield chunk, backend.encode_batch_fast(texts, add_special_tokens=False)


def read_chunks(splits: dict[str, Rows], start: int) -> Iterator[Chunk]:
    """Read the rows of the source in chunks, beginning with row `start`, the first of a part."""
    documents: list[Document] = []
    chunk_bytes = part_bytes = part_rows = 0
    end = start
    for end, document in enumerate(read_documents(splits, start), start + 1):
        documents.append(document)
        chunk_bytes, part_rows = chunk_bytes + document.num_bytes, part_rows + 1
        ends_part = part_bytes + chunk_bytes >= SHARD_BYTES or part_rows >= SHARD_ROWS
        if ends_part or chunk_bytes >= CHUNK_BYTES or len(documents) >= CHUNK_ROWS:
            yield Chunk(documents, end, ends_part)
            part_bytes = 0 if ends_part else part_bytes + chunk_bytes
            part_rows = 0 if ends_part else part_rows
            documents, chunk_bytes = [], 0
    if documents:
        yield Chunk(documents, end, ends_part=False)


def read_documents(splits: dict[str, Rows], start: int) -> Iterator[Document]:
    """Read the rows of the source, beginning with row `start`.

    Raises UserError for a row that cannot be read, unless such rows are skipped.
    """
    train = splits["train"]
    for index, (where, raw) in islice(enumerate(train.source.read()), start, train.limit):
        row = train.convert(index, where, raw)
        split = "train" if isinstance(row, UserError) else train.split_of(index, row)
        if split != "train" and splits[split].by:
            row = splits[split].convert(index, where, raw)
        if not isinstance(row, UserError):
            yield Document(split, where, row[train.task.target], row["id"], row.get("by", {}))
        elif train.skips_unreadable:
            place = str(row).partition(": ")[0]
            yield Document("train", place, "", error=row)
        else:
            raise with_skip_advice(row)
