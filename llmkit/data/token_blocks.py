"""The training rows of plain language modelling, as views of the tokens in shards."""

import hashlib
import json
from bisect import bisect_right
from itertools import accumulate

import numpy as np

from llmkit.data.prepared_text import PreparedText
from llmkit.io.indexed_tokens import read_lengths


class TokenBlocks:
    """Blocks of `max_length` tokens of the joined texts, the last one shorter.

    Exactly the rows that `split_into_blocks` makes: an end-of-text comes before the first text and
    after each, and a block begins with the last token of the one before it. All tokens of a block
    but the first are supervised, so the labels are the tokens themselves.
    """

    def __init__(self, prepared: PreparedText, max_length: int) -> None:
        self.prepared, self.max_length = prepared, max_length
        self.shards = prepared.shards
        self.tokens = [shard.map() for shard in self.shards]
        self.starts = [0, *accumulate(shard.num_tokens for shard in self.shards)]
        """Index of the first token of each shard among all tokens, and the number of those."""
        num_predicted = self.starts[-1]
        num_blocks = -(-num_predicted // (max_length - 1))
        self.lengths = np.full(num_blocks, max_length, np.int32)
        """(num_rows,): tokens of each block."""
        if num_blocks:
            self.lengths[-1] = num_predicted - (num_blocks - 1) * (max_length - 1) + 1
        self.supervised = self.lengths - 1
        """(num_rows,): supervised tokens of each block."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """`input_ids` and `labels` (T,) of a block, which must not be changed."""
        index = range(len(self))[index]
        end = index * (self.max_length - 1) + int(self.lengths[index]) - 1
        ids = self._read(index * (self.max_length - 1) - 1, end)
        return {"input_ids": ids, "labels": ids}

    def _read(self, start: int, end: int) -> np.ndarray:
        """The tokens from `start` to `end`; -1 is the place of the first end-of-text."""
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
        """file:line of the text that the first supervised token of a block belongs to."""
        position = range(len(self))[index] * (self.max_length - 1)
        number = bisect_right(self.starts, position) - 1
        ends = np.cumsum(read_lengths(self.shards[number].file("idx")))
        document = int(np.searchsorted(ends, position - self.starts[number], "right"))
        document += sum(shard.num_documents for shard in self.shards[:number])
        record = self.prepared.records_of_documents[document : document + 1]
        return self.prepared.report.locations_at(record)[0]

    def fingerprint(self) -> str:
        """sha256 of the shards' own and of what decides on the blocks: no token is read."""
        shards = [shard.sha256 for shard in self.shards]
        content = {"shards": shards, "end_of_text": self.prepared.end_of_text,
                   "max_length": self.max_length}  # fmt: skip
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()
