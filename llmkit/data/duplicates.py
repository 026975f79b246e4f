"""Find copies and near copies of rows.

Exact copies have equal digests. Candidates for near copies are found by MinHash (Broder 1997) with
banding, and their texts are then compared, so there are no false positives.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise

import numpy as np

from llmkit.data.encoding_report import EncodingReport
from llmkit.tasks import Row, Task, texts_of

# Two rows are near copies if the Jaccard similarity of their word pairs is at least
MIN_ROW_SIMILARITY = 0.7  # over the whole row, and
MIN_COLUMN_SIMILARITY = 0.4  # in each column: two questions about one text are not copies
NUM_BANDS, BAND_SIZE = 25, 5  # finds 99 % of the pairs at 0.7, and 6 % of those at 0.3
MAX_BUCKET = 50  # maximum number of rows kept per band value; more are boilerplate
MAX_CANDIDATES = 20  # most likely originals compared in full, in train and in the row's own split

Location = tuple[str, str]  # split, file:line


@dataclass(frozen=True)
class NearCopy:
    """A row and the earlier row that it nearly repeats."""

    split: str
    where: str
    original_split: str
    original: str


def repeated_rows(encoding_report: EncodingReport) -> list[tuple[str, str]]:
    """Find rows that equal an earlier row of their split; returns the locations of both."""
    digests = encoding_report.column("digest")
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    originals = first[inverse]
    copies = np.flatnonzero((originals < np.arange(len(digests))) & (digests != 0))
    return _pairs(encoding_report, copies, encoding_report, originals[copies])


def rows_in_train(
    encoding_report: EncodingReport, train: EncodingReport, column: str
) -> list[tuple[str, str]]:
    """Find rows whose `digest` (or `source_digest`) occurs in train; returns their locations and
    those of the first such training rows."""
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
    """Find rows that nearly repeat an earlier row of train or of their own split. Exact copies are
    not reported.

    splits: Rows by split, train first; each split is read twice.
    """
    locations, candidates = _propose(splits, task)
    wanted = set(candidates) | {other for others in candidates.values() for other in others}
    rows = {i: Shingled(texts) for i, (_, texts) in enumerate(_texts(splits, task)) if i in wanted}
    found = {}
    for index, others in candidates.items():
        split, where = locations[index]
        for other in others:
            original_split, original = locations[other]
            if (index, original_split) not in found and are_near(rows[index], rows[other]):
                found[index, original_split] = NearCopy(split, where, original_split, original)
    return list(found.values())


class Shingled:
    """The texts of a row, one per column, and their word pairs."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.column_pairs = [shingles(text) for text in texts]
        self.row_pairs = shingles("\n".join(texts))


def are_near(row: Shingled, other: Shingled) -> bool:
    """Whether two rows are similar enough to be near copies, but not equal."""
    if row.texts == other.texts or jaccard(row.row_pairs, other.row_pairs) < MIN_ROW_SIMILARITY:
        return False
    columns = zip(row.column_pairs, other.column_pairs, strict=False)
    return all(jaccard(a, b) >= MIN_COLUMN_SIMILARITY for a, b in columns)


def jaccard(a: set[str], b: set[str]) -> float:
    """Jaccard similarity: size of the intersection divided by size of the union."""
    common = len(a & b)
    return common / (len(a) + len(b) - common)


# Thai, Lao, Burmese, Khmer, Japanese and Chinese are written without spaces between words.
UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def shingles(text: str) -> set[str]:
    """Pairs of adjacent words in lower case, without punctuation; pairs of characters in scripts
    without spaces."""
    words = WORD.findall(text.lower()) or [text]
    return {f"{first} {second}" for first, second in pairwise(words)} or set(words)


def _propose(
    splits: dict[str, Iterable[Row]], task: Task
) -> tuple[list[Location], dict[int, list[int]]]:
    """Find candidates for near copies by MinHash.

    Returns the location of each row and, by row index, the earlier rows that may be its original,
    most likely first.
    """
    from rensa import RMinHash

    locations: list[Location] = []
    candidates: dict[int, list[int]] = {}
    buckets: dict[int, list[int]] = defaultdict(list)
    seen: set[int] = set()
    for number, (location, texts) in enumerate(_texts(splits, task)):
        locations.append(location)
        content = hash((location[0], *texts))
        if content in seen:
            continue
        seen.add(content)
        minhash = RMinHash(num_perm=NUM_BANDS * BAND_SIZE, seed=1)
        minhash.update(list(shingles("\n".join(texts))))
        digest = minhash.digest()
        starts = range(0, len(digest), BAND_SIZE)
        agreeing = [buckets[hash((start, *digest[start : start + BAND_SIZE]))] for start in starts]
        likeliest = [other for other, _ in Counter(chain.from_iterable(agreeing)).most_common()]
        for bucket in agreeing:
            if len(bucket) < MAX_BUCKET:
                bucket.append(number)
        for origin in {location[0], "train"}:
            near = islice((i for i in likeliest if locations[i][0] == origin), MAX_CANDIDATES)
            candidates.setdefault(number, []).extend(near)
        if not candidates[number]:
            del candidates[number]
    return locations, candidates


def _texts(splits: dict[str, Iterable[Row]], task: Task) -> Iterator[tuple[Location, list[str]]]:
    """Yields the location of each row and its text in each column."""
    for split, rows in splits.items():
        for row in rows:
            yield (split, row["where"]), [text.strip() for text in texts_of(row, task)]
