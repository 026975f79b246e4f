"""A set of 64-bit digests for streams of any length: 8 bytes each, in sorted arrays."""

import numpy as np

BUFFER = 2**16  # digests in the Python set of the newest, before they become a sorted array


class DigestSet:
    """A set of 64-bit digests that grows: sorted arrays, and a small set of the newest.

    As in a log-structured merge tree (O'Neil et al. 1996), an array is merged with the one before
    it unless that one is more than twice as long. So n digests are in O(log n) arrays, each was
    moved O(log n) times, and no array is ever copied as a whole to add a few.
    """

    def __init__(self) -> None:
        self.newest: set[int] = set()
        self.arrays: list[np.ndarray] = []
        """Sorted, the longest first."""

    def among_older(self, digests: np.ndarray) -> np.ndarray:
        """Whether each digest (N,) is in a sorted array: in the set, but not among `newest`."""
        found = np.zeros(len(digests), bool)
        for array in self.arrays:
            places = np.minimum(np.searchsorted(array, digests), len(array) - 1)
            found |= array[places] == digests
        return found

    def add(self, digests: np.ndarray) -> None:
        """Add digests (N,) as a sorted array."""
        if len(digests):
            self.arrays.append(np.sort(digests))
        while len(self.arrays) > 1 and len(self.arrays[-2]) <= 2 * len(self.arrays[-1]):
            merged = np.concatenate([self.arrays.pop(), self.arrays.pop()])
            merged.sort(kind="stable")  # timsort, which merges sorted parts in linear time
            self.arrays.append(merged)

    def settle(self) -> None:
        """Turn the newest digests into a sorted array if there are many."""
        if len(self.newest) >= BUFFER:
            self.add(np.fromiter(self.newest, np.uint64, len(self.newest)))
            self.newest.clear()
