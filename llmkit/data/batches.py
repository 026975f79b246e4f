"""Build batches from rows: row order, distribution over processes, padding and packing."""

import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from llmkit.config.schema import Data, Forward
from llmkit.constants import IGNORE_INDEX
from llmkit.errors import count_of

Lengths = Sequence[int] | Mapping[int, int]  # number of tokens by row index
UNLIMITED = sys.maxsize  # capacity of a sequence that contains all rows of a batch
# Placeholder for a process without rows: its loss is 0, and it takes part in all collectives.
NO_ROW = {"input_ids": [0, 0], "labels": [IGNORE_INDEX] * 2}


@dataclass(frozen=True)
class Batch:
    """Encoded rows as the input of one forward pass.

    Each of the B sequences of T tokens contains one row or, if rows are packed, several. Everything
    that depends on the lengths of the rows is computed here, so that the host never waits for the
    device.
    """

    lengths: list[int]
    """Number of tokens of each row, in the order in which they are packed."""
    supervised_rows: np.ndarray
    """Index in the batch of the row of each supervised token, (num_supervised,)."""
    input_ids: Tensor
    """Token ids (B, T), padded on the right with token 0."""
    used: Tensor
    """Flat index in (B, T) of the position that predicts each supervised token, (num_supervised,),
    ascending."""
    targets: Tensor
    """Supervised tokens, (num_supervised,)."""
    row_starts: Tensor
    """Index of the first token of each row and, last, the number of tokens, (num_rows + 1,), if all
    rows are packed into one sequence."""
    position_ids: Tensor | None = None
    """Positions (B, T), which restart with each row; None if rows are not packed."""
    row_ids: Tensor | None = None
    """Index of the row of each token, (B, T), -1 for padding; None if rows are not packed."""

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, by a single asynchronous copy."""
        if device.type == "cpu":
            return self
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        buffer = torch.cat([tensor.flatten() for tensor in tensors.values()])
        if device.type == "cuda":
            buffer = buffer.pin_memory()
        copied = buffer.to(device, non_blocking=buffer.is_pinned())
        parts = copied.split([tensor.numel() for tensor in tensors.values()])
        moved = zip(tensors.items(), parts, strict=True)
        return replace(self, **{name: part.view_as(tensor) for (name, tensor), part in moved})


def batch_capacity(data: Data, forward_pass: Forward) -> int | None:
    """Maximum tokens of a sequence of several rows; None: one row per sequence."""
    if forward_pass == "padding_free":
        return UNLIMITED
    return data.max_length if data.packing else None


def shuffled_indices(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    """Row indices (num_rows,) in the order of an epoch: a pure function of seed and epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_rows, generator=generator).numpy()


@dataclass(frozen=True)
class MicroBatchLimit:
    """The maximum input of one forward pass. A row above the limit is a micro-batch of its own."""

    rows: int | None = None
    tokens: int | None = None
    """Tokens including padding."""

    def allows(self, num_rows: int, num_tokens: int) -> bool:
        return num_rows <= (self.rows or num_rows) and num_tokens <= (self.tokens or num_tokens)

    def halved(self) -> "MicroBatchLimit":
        return MicroBatchLimit(
            self.rows and max(1, self.rows // 2), self.tokens and max(1, self.tokens // 2)
        )

    def __str__(self) -> str:
        parts = [(self.rows, "row"), (self.tokens, "token")]
        return " and ".join(count_of(number, unit) for number, unit in parts if number is not None)


def split_into_micro_batches(
    indices: list[int],
    lengths: Lengths,
    limit: MicroBatchLimit,
    num_processes: int,
    capacity: int | None,
) -> list[list[list[int]]]:
    """Split the rows of one optimizer step into the micro-batches of each process.

    All processes get about the same number of tokens, since each step takes as long as the slowest
    process. Rows of similar length share a micro-batch, which reduces padding. Neither changes the
    loss of the step, which is one mean over all of its tokens. A process without rows gets one
    empty micro-batch.

    Args:
        indices: The rows of the step.
        lengths: Tokens of each row.
        capacity: See `pack_rows`.
    """
    by_length = sorted(indices, key=lambda row: lengths[row], reverse=True)
    by_process = distribute_by_tokens(by_length, lengths, num_processes)
    return [split_rows(rows, lengths, limit, capacity) for rows in by_process]


def split_rows(
    by_length: list[int], lengths: Lengths, limit: MicroBatchLimit, capacity: int | None
) -> list[list[int]]:
    """Split rows, sorted by decreasing length, into as few consecutive micro-batches as the limit
    permits."""
    sizes = [lengths[row] for row in by_length]
    ends = list(accumulate(sizes, initial=0))
    micro_batches, start = [], 0
    while start < len(by_length):
        without_padding = bisect_right(ends, ends[start] + (limit.tokens or UNLIMITED)) - 1
        number = num_fitting(sizes[start : max(without_padding, start + 1)], limit, capacity)
        micro_batches.append(by_length[start : start + number])
        start += number
    return micro_batches or [[]]


def num_fitting(lengths: list[int], limit: MicroBatchLimit, capacity: int | None) -> int:
    """Number of the first rows of these lengths that fit into a micro-batch; at least one."""
    fitting, too_many = 1, len(lengths) + 1
    number = len(lengths)  # all fit unless there is too much padding
    while fitting < number:
        if limit.allows(number, padded_size(lengths[:number], capacity)):
            fitting = number
        else:
            too_many = number
        number = (fitting + too_many) // 2
    return fitting


def distribute_by_tokens(
    by_length: list[int], lengths: Lengths, num_processes: int
) -> list[list[int]]:
    """Assign each row, the longest first, to the process with the fewest tokens so far.

    With this greedy rule (longest processing time first; Graham, 1969), the maximum number of
    tokens per process is at most a third above the optimum, and close to it with several rows per
    process.
    """
    by_process: list[list[int]] = [[] for _ in range(num_processes)]
    tokens = [0] * num_processes
    for row in by_length:
        process = tokens.index(min(tokens))
        by_process[process].append(row)
        tokens[process] += lengths[row]
    return by_process


def pack_rows(lengths: list[int], capacity: int | None) -> list[list[int]]:
    """Arrange rows of these lengths in the sequences of a batch; returns the rows of each sequence.

    Without a capacity, each sequence holds one row. Otherwise rows are packed into as few sequences
    as first fit needs, and as evenly as possible, since the longest sequence decides the padding.
    """
    if capacity is None:
        return [[row] for row in range(len(lengths))]
    capacity = min(capacity, sum(lengths))
    sequences = first_fit(lengths, capacity)
    low, high = max(max(lengths), -(-sum(lengths) // len(sequences))), capacity
    while low < high:
        middle = (low + high) // 2
        tighter = first_fit(lengths, middle)
        if len(tighter) <= len(sequences):
            sequences, high = tighter, middle
        else:
            low = middle + 1
    return sequences


def first_fit(lengths: list[int], capacity: int) -> list[list[int]]:
    """Pack rows, the longest first, into sequences of at most `capacity` tokens: each into the
    first sequence with room; returns the rows of each sequence."""
    sequences: list[list[int]] = []
    free: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row], reverse=True):
        index = next((i for i, left in enumerate(free) if left >= lengths[row]), len(free))
        if index == len(free):
            sequences.append([])
            free.append(capacity)
        sequences[index].append(row)
        free[index] -= lengths[row]
    return sequences


def padded_size(lengths: list[int], capacity: int | None) -> int:
    """Number of tokens, padding included, of the batch that `collate` builds from rows of these
    lengths."""
    if not lengths:
        return 2
    sequences = pack_rows(lengths, capacity)
    return len(sequences) * max(sum(lengths[row] for row in rows) for rows in sequences)


def collate(rows: Sequence[Mapping[str, Sequence[int]]], capacity: int | None = None) -> Batch:
    """Lay out encoded rows.

    Args:
        rows: `input_ids` and `labels` of each row; without rows, the loss of the batch is 0.
        capacity: Pack rows into sequences of at most this many tokens; None: one row per sequence.
    """
    rows = rows or [NO_ROW]
    lengths = [len(row["input_ids"]) for row in rows]
    sequences = pack_rows(lengths, capacity)
    shape = len(sequences), max(sum(lengths[index] for index in sequence) for sequence in sequences)
    input_ids, position_ids = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    labels, row_ids = np.full(shape, IGNORE_INDEX), np.full(shape, -1)
    for line, sequence in enumerate(sequences):
        start = 0
        for index in sequence:
            place = line, slice(start, start + lengths[index])
            input_ids[place], labels[place] = rows[index]["input_ids"], rows[index]["labels"]
            labels[line, start] = IGNORE_INDEX  # not predicted from the previous row
            position_ids[place], row_ids[place] = np.arange(lengths[index]), index
            start += lengths[index]
    is_supervised = labels != IGNORE_INDEX
    packed_lengths = [lengths[index] for sequence in sequences for index in sequence]
    tensor, is_packed = torch.from_numpy, capacity is not None
    return Batch(
        lengths=packed_lengths,
        supervised_rows=row_ids[is_supervised],
        input_ids=tensor(input_ids),
        used=tensor(np.flatnonzero(is_supervised) - 1),
        targets=tensor(labels[is_supervised]),
        row_starts=tensor(np.cumsum([0, *packed_lengths])),
        position_ids=tensor(position_ids) if is_packed else None,
        row_ids=tensor(row_ids) if is_packed else None,
    )
