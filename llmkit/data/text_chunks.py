"""Read the rows of a source in chunks of documents, and tokenize these on all cores."""

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

SHARD_BYTES = 2**28  # of text, after which a shard ends
SHARD_ROWS = 2**20  # rows after which a shard ends in any case
CHUNK_BYTES = 2**21  # of text that is tokenized together; its encodings take 100 MB
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Document:
    """A row of the source, or what is wrong with it."""

    split: str
    where: str
    text: str
    id: str = ""
    by: dict[str, str] = field(default_factory=dict)
    """The row's values in the columns of evaluation.by."""
    error: UserError | None = None
    removed_as: str | None = None
    """The outcome if the text is left out as a duplicate."""

    @cached_property
    def num_bytes(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text) if self.text.isascii() else len(self.text.encode())


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows that are tokenized together."""

    documents: list[Document]
    end: int
    """Index in the source of the row after them."""
    ends_part: bool
    digests: np.ndarray | None = None
    """Those of the training texts that are kept, if duplicates are removed: one row each."""


def tokenize(
    chunks: Iterator[Chunk], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Chunk, list[Any]]]:
    """Each chunk with the encoding of each of its texts. User text never becomes a special
    token."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    with closing(chunks):
        for chunk in chunks:
            texts = ["" if document.removed_as else document.text for document in chunk.documents]
            yield chunk, backend.encode_batch_fast(texts, add_special_tokens=False)


def read_chunks(splits: dict[str, Rows], start: int) -> Iterator[Chunk]:
    """The rows from index `start` of the source on, where a part begins."""
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
    """The rows from index `start` of the source on.

    Raises UserError at one that cannot be read, unless such rows are skipped.
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
