"""Encoded rows -> the batches of a step: order, dealing out to processes, padding or packing."""

import sys
from typing import Any

import torch
from torch import Tensor

from llmkit.config.schema import Data, Forward
from llmkit.constants import IGNORE_INDEX

Batch = dict[str, Tensor]
UNLIMITED = sys.maxsize  # capacity of the one sequence that holds all rows of a batch


def batch_capacity(data: Data, forward_pass: Forward) -> int | None:
    """Tokens that a sequence of several rows holds; None: each row is a sequence of its own."""
    if forward_pass == "padding_free":
        return UNLIMITED
    return data.max_length if data.packing else None


def shuffled_indices(num_rows: int, seed: int, epoch: int) -> list[int]:
    """The order of the rows in an epoch: a pure function of seed and epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_rows, generator=generator).tolist()


def split_into_micro_batches(
    indices: list[int], lengths: list[int], micro_batch_size: int, num_processes: int
) -> list[list[list[int]]]:
    """Split the rows of one optimizer step into the micro-batches of each process.

    Each process gets about as many tokens as the others, since all wait for the slowest. Rows of
    similar length share a micro-batch, which saves padding. Neither changes the step's loss, which
    is one mean over all its tokens. A process without rows gets one empty micro-batch.
    """
    by_length = sorted(indices, key=lambda row: lengths[row], reverse=True)
    dealt = deal_by_tokens(by_length, lengths, num_processes)
    return [
        [rows[i : i + micro_batch_size] for i in range(0, len(rows), micro_batch_size)] or [[]]
        for rows in dealt
    ]


def deal_by_tokens(by_length: list[int], lengths: list[int], num_processes: int) -> list[list[int]]:
    """Deal rows, the longest first, each to the process with the fewest tokens so far.

    This greedy rule (longest processing time first; Graham, 1969) exceeds the best possible
    maximum by a third at most, and by little where a process gets several rows.
    """
    dealt: list[list[int]] = [[] for _ in range(num_processes)]
    tokens = [0] * num_processes
    for row in by_length:
        process = tokens.index(min(tokens))
        dealt[process].append(row)
        tokens[process] += lengths[row]
    return dealt


def pack_rows(lengths: list[int], capacity: int | None) -> list[list[int]]:
    """Positions of rows -> the sequences of a batch: a row each, or packed into `capacity` tokens.

    Packed ones are as few as first fit makes them, and then as even, since the longest of them
    decides on the padding.
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
    """Positions of rows -> sequences of at most `capacity` tokens, the longest rows first."""
    sequences: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row], reverse=True):
        place = next((i for i, left in enumerate(room) if left >= lengths[row]), len(room))
        if place == len(room):
            sequences.append([])
            room.append(capacity)
        sequences[place].append(row)
        room[place] -= lengths[row]
    return sequences


def padded_size(lengths: list[int], capacity: int | None) -> int:
    """Tokens, padding with them, of the batch that `collate` makes of rows of these lengths."""
    if not lengths:
        return 2
    sequences = pack_rows(lengths, capacity)
    return len(sequences) * max(sum(lengths[row] for row in rows) for rows in sequences)


def collate(rows: list[dict[str, Any]], capacity: int | None = None) -> Batch:
    """Encoded rows -> input_ids and labels (B, T), padded on the right with token 0, no label.

    capacity: pack rows into sequences of at most so many tokens; row_ids (B, T) then says which
    row a token belongs to, -1 padding, and position_ids (B, T) begin again with each row.
    No rows: one padding token without a label, whose loss is 0.
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
            batch["labels"][line, start] = IGNORE_INDEX  # its neighbour's end must not predict it
            batch["position_ids"][line, start:end] = torch.arange(lengths[index])
            batch["row_ids"][line, start:end] = index
            start = end
    names = ("input_ids", "labels") if capacity is None else fill
    return {name: batch[name] for name in names}
