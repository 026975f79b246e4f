"""Rows that stand in the data twice, or nearly.

Exact copies are found by the digests that encoding keeps of each row. Near copies: MinHash (Broder
1997) with banding proposes pairs, and the texts themselves decide, so that no row is accused
because of a chance collision.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from llmkit.tasks import Row

SIMILAR = 0.7  # Jaccard similarity of the word pairs, from which on two rows are near copies
NUM_PERM, NUM_BANDS = 125, 25  # proposes 99 % of the pairs at 0.7, 6 % of those at 0.3
MAX_CANDIDATES = 20  # likeliest ones of each row that are compared in full


@dataclass(frozen=True)
class NearCopy:
    """A row and an earlier one that it nearly repeats, each by split and place (file:line)."""

    split: str
    where: str
    original_split: str
    original: str
    similarity: float


def repeated_rows(encoded: Dataset) -> list[str]:
    """Where the rows stand that an earlier row of the same split equals."""
    digests = encoded.data.column("digest").to_numpy()
    is_first = digests == 0
    is_first[np.unique(digests, return_index=True)[1]] = True
    return encoded.select(np.flatnonzero(~is_first))["where"][:]


def rows_in_train(encoded: Dataset, train: Dataset, column: str) -> list[str]:
    """Where the rows stand whose `digest` (or `source_digest`) a training row has too."""
    digests, known = (d.data.column(column).to_numpy() for d in (encoded, train))
    is_known = np.isin(digests, known) & (digests != 0)
    return encoded.select(np.flatnonzero(is_known))["where"][:]


def find_near_copies(splits: dict[str, Iterable[Row]]) -> list[NearCopy]:
    """Rows, train first, that nearly repeat an earlier row of train or of their own split.

    Rows of the very same text are no concern of this function. Each split is read twice.
    """
    places, candidates = _propose(splits)
    wanted = set(candidates) | {other for others in candidates.values() for other in others}
    texts = {i: t for i, (_, _, t) in enumerate(_texts(splits)) if i in wanted}
    found = []
    for index, others in candidates.items():
        split, where = places[index]
        best: dict[str, tuple[float, int]] = {}
        for other in others:
            similarity = jaccard(texts[index], texts[other])
            origin = places[other][0]
            is_near = similarity >= SIMILAR and texts[index] != texts[other]
            if is_near and origin in (split, "train"):
                best[origin] = max(best.get(origin, (0.0, 0)), (similarity, other))
        found += [
            NearCopy(split, where, origin, places[other][1], similarity)
            for origin, (similarity, other) in best.items()
        ]
    return found


def jaccard(text: str, other: str) -> float:
    """Share of common word pairs."""
    a, b = shingles(text), shingles(other)
    return len(a & b) / len(a | b)


def shingles(text: str) -> set[str]:
    """Word pairs in lower case without punctuation; of a text without words, its characters."""
    words = re.findall(r"\w+", text.lower())
    if len(words) < 2:
        words = list(text.lower())
    return {" ".join(words[i : i + 2]) for i in range(max(1, len(words) - 1))}


def _propose(
    splits: dict[str, Iterable[Row]],
) -> tuple[list[tuple[str, str]], dict[int, list[int]]]:
    """(split and place of each row, by row the earlier rows that MinHash takes for near)."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=SIMILAR, num_perm=NUM_PERM, num_bands=NUM_BANDS)
    places, hashes, candidates = [], {}, {}
    seen: dict[str, set[int]] = defaultdict(set)
    for number, (split, where, text) in enumerate(_texts(splits)):
        places.append((split, where))
        if hash(text) in seen[split]:
            continue
        seen[split].add(hash(text))
        minhash = RMinHash(num_perm=NUM_PERM, seed=1)
        minhash.update(list(shingles(text)))
        near = index.query(minhash)
        if near:
            likeliest = sorted(near, key=lambda i: hashes[i].jaccard(minhash), reverse=True)
            candidates[number] = likeliest[:MAX_CANDIDATES]
        index.insert(number, minhash)
        hashes[number] = minhash
    return places, candidates


def _texts(splits: dict[str, Iterable[Row]]) -> Iterator[tuple[str, str, str]]:
    """(split, place, whole text) of each row."""
    for split, rows in splits.items():
        for row in rows:
            values = [value for name, value in row.items() if name not in ("id", "where")]
            parts = [text for v in values for text in (v if isinstance(v, list) else [v])]
            yield split, row["where"], "\n".join(parts)
