"""Remove exact and near duplicates from a stream of rows; the first occurrence is kept.

Exact duplicates have equal digests. Near duplicates agree in a band of their MinHash signatures
(Broder 1997). Earlier texts are not kept, so no pair is compared in full. With 14 bands of 8
values, as in FineWeb (Penedo et al. 2024), two texts whose sets of word pairs have Jaccard
similarity s agree in some band with probability 1 - (1 - s^8)^14:

    s               0.3     0.5     0.6     0.7     0.8     0.9
    probability   0.1 %     5 %    21 %    56 %    92 %   100 %

The result depends only on the rows and their order.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from typing import Literal

import numpy as np

from llmkit.data.digest_set import DigestSet
from llmkit.data.duplicates import shingles
from llmkit.tasks import Row, Task, texts_of

RemovedDuplicates = Literal["exact", "near"]
NUM_BANDS, BAND_SIZE = 14, 8
DUPLICATE, NEAR_DUPLICATE = REMOVED = "duplicate", "near duplicate"  # outcomes of removed rows
NO_TEXT = 0  # digest of a row without text, which is never a duplicate
CHUNK_ROWS = 1000  # number of rows whose digests are computed together


class DuplicateFilter:
    """Digests of the rows kept so far: 8 bytes per row, or 120 with near duplicates."""

    def __init__(self, num_digests: int) -> None:
        """num_digests: Number of digests per row, see `row_digests`."""
        self.contents, *self.bands = (DigestSet() for _ in range(num_digests))

    def add(self, digests: np.ndarray) -> None:
        """Add digests (N, num_digests) of rows that were kept before or must not be repeated."""
        for column, known in enumerate((self.contents, *self.bands)):
            known.add(digests[:, column])

    def outcomes(self, digests: np.ndarray) -> list[str | None]:
        """Outcomes of the next rows of the stream: DUPLICATE, NEAR_DUPLICATE, or None if the row is
        kept and its digests are added.

        digests: Digests of the rows, (N, num_digests).
        """
        for known in (self.contents, *self.bands):
            known.settle()
        is_equal = self.contents.among_older(digests[:, 0])
        is_near = np.zeros(len(digests), bool)
        for column, known in enumerate(self.bands, start=1):
            is_near |= known.among_older(digests[:, column])
        return [
            self._outcome(values, equal, near)
            for values, equal, near in zip(digests.tolist(), is_equal, is_near, strict=True)
        ]

    def _outcome(self, digests: list[int], is_equal: bool, is_near: bool) -> str | None:
        content, *bands = digests
        if content == NO_TEXT:
            return None
        if is_equal or content in self.contents.newest:
            return DUPLICATE
        if is_near or any(
            digest in known.newest for digest, known in zip(bands, self.bands, strict=True)
        ):
            return NEAR_DUPLICATE
        for digest, known in zip(digests, (self.contents, *self.bands), strict=True):
            known.newest.add(digest)
        return None


def num_digests(kind: RemovedDuplicates) -> int:
    """Number of digests per row."""
    return 1 if kind == "exact" else 1 + NUM_BANDS


def version_of(kind: RemovedDuplicates) -> str:
    """Version of the library that computes the MinHash signatures."""
    return "" if kind == "exact" else version("rensa")


def row_digests(texts: list[list[str]], kind: RemovedDuplicates) -> np.ndarray:
    """64-bit digests (num_rows, num_digests) of rows: one of the content and, for near duplicates,
    one of each band. Each row's digests depend only on the row.

    texts: Texts of each row, one per column.
    """
    stripped = [[text.strip() for text in row] for row in texts]
    contents = [_digest("\0".join(row).encode()) if any(row) else NO_TEXT for row in stripped]
    digests = np.array(contents, np.uint64).reshape(-1, 1)
    if kind == "exact":
        return digests
    from rensa import RMinHash

    signatures = RMinHash.digests_from_token_sets(
        [list(shingles("\n".join(row))) for row in texts], NUM_BANDS * BAND_SIZE, 1
    )
    bands = np.array(signatures, np.uint32).reshape(len(texts) * NUM_BANDS, BAND_SIZE)
    of_bands = np.array([_digest(band.tobytes()) for band in bands], np.uint64)
    return np.hstack([digests, of_bands.reshape(len(texts), NUM_BANDS)])


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def open_filter(
    kind: RemovedDuplicates, task: Task, held_out: Iterable[Row] = ()
) -> DuplicateFilter:
    """Create a filter for a new stream.

    held_out: Rows of other splits, which must not be repeated in the stream.
    """
    kept = DuplicateFilter(num_digests(kind))
    for _, digests in _with_digests(held_out, task, kind):
        kept.add(digests)
    return kept


def without_duplicates(
    rows: Iterable[Row],
    task: Task,
    kind: RemovedDuplicates,
    held_out: Iterable[Row],
    on_removed: Callable[[Row, str], None],
) -> Iterator[Row]:
    """Yields the rows that repeat neither an earlier nor a held-out row.

    on_removed: Called with each removed row and its outcome.
    """
    kept = open_filter(kind, task, held_out)
    for chunk, digests in _with_digests(rows, task, kind):
        for row, outcome in zip(chunk, kept.outcomes(digests), strict=True):
            if outcome is None:
                yield row
            else:
                on_removed(row, outcome)


def _with_digests(
    rows: Iterable[Row], task: Task, kind: RemovedDuplicates
) -> Iterator[tuple[list[Row], np.ndarray]]:
    """Yields chunks of rows with their digests."""
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk, row_digests([texts_of(row, task) for row in chunk], kind)
