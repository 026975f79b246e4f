"""Batches of similar length, whose results come back in the original order."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """The indices of all items in batches of similar length, which need little padding.

    The longest come first: if memory does not suffice, the first batch shows it.
    """
    longest_first = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    starts = range(0, len(longest_first), batch_size)
    return [longest_first[start : start + batch_size] for start in starts]


def map_by_length(
    compute: Callable[[list[int]], Iterable[Result]], lengths: Sequence[int], batch_size: int
) -> list[Result]:
    """The result for each item, in order, computed in batches of similar length.

    compute: Returns one result for each of the given indices.
    """
    results: dict[int, Result] = {}
    for batch in batches_by_length(lengths, batch_size):
        results |= zip(batch, compute(batch), strict=True)
    return [results[index] for index in range(len(lengths))]
