"""Rows that stand in the data twice, or nearly.

Exact copies are found by a digest of each row. Near copies: MinHash (Broder 1997) with banding
proposes pairs, and the texts themselves decide, so that no row is accused by chance.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from llmkit.data.encoding_report import EncodingReport
from llmkit.tasks import Row, Task, texts_of

SIMILAR = 0.7  # Jaccard similarity of all word pairs from which on two rows are near copies,
ALIKE = 0.4  # and of those in each column: two questions about one text are no copies
NUM_BANDS, BAND = 25, 5  # proposes 99 % of the pairs at 0.7, 6 % of those at 0.3
MAX_BUCKET = 50  # rows that agree in a band; beyond, it says boilerplate and nothing more
MAX_CANDIDATES = 20  # likeliest ones, of train and of the own split, that are compared in full

Place = tuple[str, str]  # split, file:line


@dataclass(frozen=True)
class NearCopy:
    """A row and an earlier one that it nearly repeats."""

    split: str
    where: str
    original_split: str
    original: str


def repeated_rows(encoding_report: EncodingReport) -> list[tuple[str, str]]:
    """Where the rows stand that an earlier row of the same split equals, and where that does."""
    digests = encoding_report.column("digest")
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    originals = first[inverse]
    copies = np.flatnonzero((originals < np.arange(len(digests))) & (digests != 0))
    return _pairs(encoding_report, copies, encoding_report, originals[copies])


def rows_in_train(
    encoding_report: EncodingReport, train: EncodingReport, column: str
) -> list[tuple[str, str]]:
    """Where the rows stand whose `digest` (or `source_digest`) a training row has too, and where
    the first such row does."""
    digests = encoding_report.column(column)
    known, first = np.unique(train.column(column), return_index=True)
    copies = np.flatnonzero(np.isin(digests, known) & (digests != 0))
    return _pairs(encoding_report, copies, train, first[np.searchsorted(known, digests[copies])])


def _pairs(
    encoding_report: EncodingReport,
    copies: np.ndarray,
    others: EncodingReport,
    originals: np.ndarray,
) -> list[tuple[str, str]]:
    return list(
        zip(encoding_report.locations_at(copies), others.locations_at(originals), strict=True)
    )


def find_near_copies(splits: dict[str, Iterable[Row]], task: Task) -> list[NearCopy]:
    """Rows, train first, that nearly repeat an earlier row of train or of their own split.

    Rows of the very same text are no concern of this function. Each split is read twice.
    """
    places, candidates = _propose(splits, task)
    wanted = set(candidates) | {other for others in candidates.values() for other in others}
    rows = {i: Shingled(texts) for i, (_, texts) in enumerate(_texts(splits, task)) if i in wanted}
    found = {}
    for index, others in candidates.items():
        split, where = places[index]
        for other in others:
            original_split, original = places[other]
            if (index, original_split) not in found and are_near(rows[index], rows[other]):
                found[index, original_split] = NearCopy(split, where, original_split, original)
    return list(found.values())


class Shingled:
    """A row, a text a column, with the word pairs that it is compared by."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.columns = [shingles(text) for text in texts]
        self.whole = shingles("\n".join(texts))


def are_near(row: Shingled, other: Shingled) -> bool:
    """Whether two rows are near copies without being the same."""
    if row.texts == other.texts or jaccard(row.whole, other.whole) < SIMILAR:
        return False
    return all(map(lambda a, b: jaccard(a, b) >= ALIKE, row.columns, other.columns))


def jaccard(a: set[str], b: set[str]) -> float:
    """Share of common members."""
    common = len(a & b)
    return common / (len(a) + len(b) - common)


# Thai, Lao, Burmese, Khmer, Japanese and Chinese put no blanks between words.
UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def shingles(text: str) -> set[str]:
    """Word pairs in lower case without punctuation; where words have no blanks, of characters."""
    words = WORD.findall(text.lower()) or [text]
    return {" ".join(words[i : i + 2]) for i in range(max(1, len(words) - 1))}


def _propose(
    splits: dict[str, Iterable[Row]], task: Task
) -> tuple[list[Place], dict[int, list[int]]]:
    """(place of each row, by row the earlier rows that MinHash takes for near, likeliest first)."""
    from rensa import RMinHash

    places: list[Place] = []
    candidates: dict[int, list[int]] = {}
    buckets: dict[int, list[int]] = defaultdict(list)
    seen: set[int] = set()
    for number, (place, texts) in enumerate(_texts(splits, task)):
        places.append(place)
        content = hash((place[0], *texts))
        if content in seen:
            continue
        seen.add(content)
        minhash = RMinHash(num_perm=NUM_BANDS * BAND, seed=1)
        minhash.update(list(shingles("\n".join(texts))))
        digest = minhash.digest()
        starts = range(0, len(digest), BAND)
        agreeing = [buckets[hash((start, *digest[start : start + BAND]))] for start in starts]
        likeliest = [other for other, _ in Counter(chain.from_iterable(agreeing)).most_common()]
        for bucket in agreeing:
            if len(bucket) < MAX_BUCKET:
                bucket.append(number)
        for origin in {place[0], "train"}:
            near = islice((i for i in likeliest if places[i][0] == origin), MAX_CANDIDATES)
            candidates.setdefault(number, []).extend(near)
        if not candidates[number]:
            del candidates[number]
    return places, candidates


def _texts(splits: dict[str, Iterable[Row]], task: Task) -> Iterator[tuple[Place, list[str]]]:
    """Place of each row, and its text in each column."""
    for split, rows in splits.items():
        for row in rows:
            yield (split, row["where"]), [text.strip() for text in texts_of(row, task)]
