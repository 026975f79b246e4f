"""Near-copy detection: which rows are too close to rows that were already accepted."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

WORD = re.compile(r"\w+")


def shingles(text: str, size: int) -> frozenset[tuple[str, ...]]:
    """Return the set of word n-grams of a text, in lower case."""
    tokens = WORD.findall(text.lower())
    return frozenset(zip(*(tokens[i:] for i in range(size)), strict=False))


class NearCopies:
    """An inverted index over the n-grams of the accepted rows.

    Counting shared n-grams through the index gives the exact Jaccard similarity with every
    accepted row without comparing the texts pair by pair.
    """

    def __init__(self, size: int, limit: float) -> None:
        self.size = size
        self.limit = limit
        self._rows: dict[tuple[str, ...], list[int]] = {}
        self._lengths: list[int] = []

    def add(self, text: str) -> None:
        """Remember a text."""
        grams = shingles(text, self.size)
        for gram in grams:
            self._rows.setdefault(gram, []).append(len(self._lengths))
        self._lengths.append(len(grams))

    def is_near(self, text: str) -> bool:
        """Tell whether the similarity with a remembered text is above the limit.

        The union of two sets is at least as large as the first one, so only rows that share
        more than limit * len(grams) n-grams can be above the limit.
        """
        grams = shingles(text, self.size)
        shared = Counter(chain.from_iterable(self._rows.get(gram, ()) for gram in grams))
        least = self.limit * len(grams)
        return any(
            n > self.limit * (len(grams) + self._lengths[row] - n)
            for row, n in shared.items()
            if n > least
        )
