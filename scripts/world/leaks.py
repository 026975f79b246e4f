"""Near-copy detection: which rows are too close to rows that were already accepted."""

from __future__ import annotations

import re
from itertools import chain

WORD = re.compile(r"\w+")


def shingles(text: str, size: int) -> frozenset[tuple[str, ...]]:
    """Return the set of word n-grams of a text, in lower case."""
    tokens = WORD.findall(text.lower())
    return frozenset(zip(*(tokens[i:] for i in range(size)), strict=False))


class NearCopies:
    """An inverted index over the n-grams of the accepted rows.

    Only rows that share one of a text's rarest n-grams are compared with it, which finds every row
    that can be above the limit (prefix filtering, Chaudhuri et al. 2006).
    """

    def __init__(self, size: int, limit: float) -> None:
        self.size = size
        self.limit = limit
        self._rows: dict[tuple[str, ...], list[int]] = {}
        self._grams: list[frozenset[tuple[str, ...]]] = []

    def add(self, text: str) -> None:
        """Remember a text."""
        grams = shingles(text, self.size)
        for gram in grams:
            self._rows.setdefault(gram, []).append(len(self._grams))
        self._grams.append(grams)

    def is_near(self, text: str) -> bool:
        """Tell whether the Jaccard similarity with a remembered text is above the limit.

        The union of two sets is at least as large as the first one, so a row above the limit
        shares more than limit * len(grams) n-grams, and lacks fewer than the others: it has one
        of any len(grams) - int(limit * len(grams)) of them.
        """
        grams = shingles(text, self.size)
        found = sorted((self._rows.get(gram, []) for gram in grams), key=len)
        rarest = found[: len(grams) - int(self.limit * len(grams))]
        return any(
            self._is_above(len(grams & self._grams[row]), len(grams), len(self._grams[row]))
            for row in set(chain.from_iterable(rarest))
        )

    def _is_above(self, num_shared: int, *nums_grams: int) -> bool:
        return num_shared > self.limit * (sum(nums_grams) - num_shared)
