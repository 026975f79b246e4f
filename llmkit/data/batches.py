"""The batches of a step: order of the rows, their distribution over processes, padding, packing."""

import sys
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from llmkit.config.schema import Data, Forward
from llmkit.constants import IGNORE_INDEX

Batch = dict[str, Tensor]
UNLIMITED = sys.maxsize  # capacity of a sequence that holds all rows of a batch


def batch_capacity(data: Data, forward_pass: Forward) -> int | None:
    """Tokens that a sequence of several rows can hold; None: one row per sequence."""
    if forward_pass == "padding_free":
        return UNLIMITED
    return data.max_length if data.packing else None


def shuffled_indices(num_rows: int, seed: int, epoch: int) -> list[int]:
    """Row indices in the order of an epoch: a pure function of seed and epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_rows, generator=generator).tolist()


def split_into_micro_batches(
    indices: list[int], lengths: list[int], micro_batch_size: int, num_processes: int
) -> list[list[list[int]]]:
    """Split the rows of one optimizer step into the micro-batches of each process.

    All processes get about the same number of tokens, since they wait for the slowest. Rows of
    similar length share a micro-batch, which reduces padding. Neither changes the loss of the step,
    which is one mean over all of its tokens. A process without rows gets one empty micro-batch.
    """
    by_length = sorted(indices, key=lambda row: lengths[row], reverse=True)
    by_process = distribute_by_tokens(by_length, lengths, num_processes)
    return [
        [rows[i : i + micro_batch_size] for i in range(0, len(rows), micro_batch_size)] or [[]]
        for rows in by_process
    ]


def distribute_by_tokens(
    by_length: list[int], lengths: list[int], num_processes: int
) -> list[list[int]]:
    """Assign each row, the longest first, to the process with the fewest tokens so far.

    With this greedy rule (longest processing time first; Graham, 1969), the largest number of
    tokens is at most a third above the optimum, and close to it if a process gets several rows.
    """
    by_process: list[list[int]] = [[] for _ in range(num_processes)]
    tokens = [0] * num_processes
    for row in by_length:
        process = tokens.index(min(tokens))
        by_process[process].append(row)
        tokens[process] += lengths[row]
    return by_process


def pack_rows(lengths: list[int], capacity: int | None) -> list[list[int]]:
    """Arrange rows of these lengths in the sequences of a batch; returns the rows of each.

    Without a capacity, a sequence holds one row. Otherwise rows are packed: into as few sequences
    as first fit needs, and then as evenly as possible, since the longest one decides the padding.
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
    """The rows of sequences of at most `capacity` tokens, filled with the longest rows first."""
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
    """Tokens, including padding, of the batch that `collate` makes of rows of these lengths."""
    if not lengths:
        return 2
    sequences = pack_rows(lengths, capacity)
    return len(sequences) * max(sum(lengths[row] for row in rows) for rows in sequences)


def load_batch(encoded: Dataset, indices: list[int], capacity: int | None) -> Batch:
    """Read the rows at these indices and collate them."""
    return collate([encoded[index] for index in indices], capacity)


def collate(rows: list[dict[str, Any]], capacity: int | None = None) -> Batch:
    """Make a batch of encoded rows.

    Args:
        rows: Encoded rows; if there are none, the batch is padding whose loss is 0.
        capacity: Pack rows into sequences of at most this many tokens; None: one row per sequence.

    Returns:
        `input_ids` and `labels` (B, T), padded on the right with token 0 and IGNORE_INDEX. If rows
        are packed, also `row_ids` (B, T), the row that each token belongs to, -1 for padding; and
        `position_ids` (B, T), which start again with each row.
    """
    rows = rows or [{"input_ids": [0, 0], "labels": [IGNORE_INDEX] * 2}]
    lengths = [len(row["input_ids"]) for row in rows]
    sequences = pack_rows(lengths, capacity)
    shape = len(sequences), max(sum(lengths[row] for row in rows) for rows in sequences)
    fill = {"input_ids": 0, "labels": IGNORE_INDEX, "position_ids": 0, "row_ids": -1}
    batch = {name: torch.full(shape, value) for name, value in fill.items()}
    for line, sequence in enumerate(sequences):
        start = 0
        for index in sequence:
            end = start + lengths[index]
            batch["input_ids"][line, start:end] = torch.tensor(rows[index]["input_ids"])
            batch["labels"][line, start:end] = torch.tensor(rows[index]["labels"])
            batch["labels"][line, start] = IGNORE_INDEX  # not predicted from the previous row
            batch["position_ids"][line, start:end] = torch.arange(lengths[index])
            batch["row_ids"][line, start:end] = index
            start = end
    names = ("input_ids", "labels") if capacity is None else fill
    return {name: batch[name] for name in names}
