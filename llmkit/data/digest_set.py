"""A compact set of 64-bit digests: 8 bytes per digest, in sorted arrays."""

import numpy as np

BUFFER = 2**16  # maximum number of new digests before they become a sorted array


class DigestSet:
    """A growing set of 64-bit digests: sorted arrays, and a small Python set of the newest digests.

    As in a log-structured merge tree (O'Neil et al. 1996), an array is merged with the previous one
    unless that is more than twice as long. So n digests are in O(log n) arrays, and each digest is
    moved O(log n) times.
    """

    def __init__(self) -> None:
        self.newest: set[int] = set()
        self.arrays: list[np.ndarray] = []
        """Sorted arrays, longest first."""

    def among_older(self, digests: np.ndarray) -> np.ndarray:
        """Whether each digest (N,) is in one of the sorted arrays; `newest` is not searched."""
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
        """Move the newest digests into a sorted array if there are at least BUFFER."""
        if len(self.newest) >= BUFFER:
            self.add(np.fromiter(self.newest, np.uint64, len(self.newest)))
            self.newest.clear()
