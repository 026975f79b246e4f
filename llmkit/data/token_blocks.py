"""Training blocks of plain language modelling, as views of memory-mapped token shards."""

import hashlib
import json
from bisect import bisect_right
from itertools import accumulate

import numpy as np

from llmkit.data.prepared_text import PreparedText
from llmkit.io.indexed_tokens import read_lengths


class TokenBlocks:
    """Blocks of `max_length` tokens of the joined documents; the last block may be shorter.

    The blocks equal those of `split_into_blocks`: end-of-text precedes the first document and
    follows each document, and each block begins with the last token of the previous block. All
    tokens except the first of a block are supervised, so labels and tokens are the same array.
    """

    def __init__(self, prepared: PreparedText, max_length: int) -> None:
        self.prepared, self.max_length = prepared, max_length
        self.shards = prepared.shards
        self.tokens = [shard.map() for shard in self.shards]
        self.starts = [0, *accumulate(shard.num_tokens for shard in self.shards)]
        """Index of the first token of each shard among all tokens, then the number of tokens."""
        num_predicted = self.starts[-1]
        num_blocks = -(-num_predicted // (max_length - 1))
        self.lengths = np.full(num_blocks, max_length, np.int32)
        """Number of tokens of each block, (num_blocks,)."""
        if num_blocks:
            self.lengths[-1] = num_predicted - (num_blocks - 1) * (max_length - 1) + 1
        self.supervised = self.lengths - 1
        """Number of supervised tokens of each block, (num_blocks,)."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """`input_ids` and `labels` (T,) of a block; read-only."""
        index = range(len(self))[index]
        end = index * (self.max_length - 1) + int(self.lengths[index]) - 1
        ids = self._read(index * (self.max_length - 1) - 1, end)
        return {"input_ids": ids, "labels": ids}

    def _read(self, start: int, end: int) -> np.ndarray:
        """Tokens from `start` to `end`; index -1 is the end-of-text before the first document."""
        parts = []
        if start < 0:
            parts.append(np.array([self.prepared.end_of_text], self.shards[0].dtype))
            start = 0
        for number in range(bisect_right(self.starts, start) - 1, len(self.shards)):
            first = self.starts[number]
            if first >= end:
                break
            parts.append(self.tokens[number][max(0, start - first) : end - first])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def where(self, index: int) -> str:
        """Location (file:line) of the document with the first supervised token of a block."""
        position = range(len(self))[index] * (self.max_length - 1)
        number = bisect_right(self.starts, position) - 1
        ends = np.cumsum(read_lengths(self.shards[number].file("idx")))
        document = int(np.searchsorted(ends, position - self.starts[number], "right"))
        document += sum(shard.num_documents for shard in self.shards[:number])
        record = self.prepared.records_of_documents[document : document + 1]
        return self.prepared.report.locations_at(record)[0]

    def fingerprint(self) -> str:
        """SHA-256 of the checksums of the shards, end-of-text and block length. Reads no tokens."""
        shards = [shard.sha256 for shard in self.shards]
        content = {"shards": shards, "end_of_text": self.prepared.end_of_text,
                   "max_length": self.max_length}  # fmt: skip
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()
