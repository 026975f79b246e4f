"""ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004), equal to those of the rouge-score library.

Words are split and stemmed by rouge-score itself. The longest common subsequence is computed
bit-parallel (Hyyro 2004), since rouge-score's table of Python integers takes minutes for documents
of 20,000 words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from itertools import chain

import numpy as np
import regex
from nltk.stem.porter import PorterStemmer
from rouge_score.scoring import fmeasure
from rouge_score.tokenize import tokenize

from llmkit.metrics import means
from llmkit.metrics.prediction import Prediction
from llmkit.metrics.writing_systems import LETTER

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
LOST = 0.25  # a reference that loses this share of its letters or more is misjudged


class CachedStemmer:
    """Porter's stemmer, which stems each word once."""

    stem = staticmethod(lru_cache(maxsize=2**16)(PorterStemmer().stem))


def signature() -> str:
    return f"rouge-score {version('rouge-score')}, F1, stemmer, best reference"


def unfit(text: str) -> str | None:
    """The kind of finding for a reference that these scores misjudge: rouge-score's words
    consist of a-z and 0-9, and other letters separate them."""
    if not text.strip():
        return None
    letters = regex.findall(LETTER, text.lower())
    lost = [letter for letter in letters if not re.match("[a-z0-9]", letter)]
    return "not read" if len(lost) >= LOST * len(letters) else None


def split_sentences(text: str) -> str:
    """ROUGE-Lsum takes a line for a sentence; texts without line breaks are split at full stops."""
    return text if "\n" in text.strip() else re.sub(r"(?<=[.!?])\s+", "\n", text.strip())


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]]
) -> np.ndarray:
    """F1 of each of TYPES; a row counts its best reference by that score.

    Where all references are empty, an empty prediction scores 100 (rouge-score: 0).
    """
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        if not any(text.strip() for text in accepted):
            rows.append([100.0 * (not prediction.text.strip())] * len(TYPES))
            continue
        said = stemmed_sentences(prediction.text)
        each = [f1_scores(stemmed_sentences(text), said) for text in accepted]
        rows.append([100 * max(values) for values in zip(*each, strict=True)])
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return means(TYPES, rows, weights)


def stemmed_sentences(text: str) -> list[list[str]]:
    """The stems of each sentence."""
    lines = split_sentences(text).split("\n")
    return [tokenize(line, CachedStemmer) for line in lines if line]


def f1_scores(expected: list[list[str]], said: list[list[str]]) -> tuple[float, ...]:
    """F1 of each of TYPES for a reference and a prediction, both as stemmed sentences."""
    expected_words, said_words = list(chain(*expected)), list(chain(*said))
    num_expected, num_said = len(expected_words), len(said_words)
    if not num_expected or not num_said:
        return (0.0,) * len(TYPES)
    unigrams = (common_ngrams(expected_words, said_words, n) for n in (1, 2))
    found = [(hits, num_said - n, num_expected - n) for n, hits in enumerate(unigrams)]
    found += [
        (lcs_length(expected_words, said_words), num_said, num_expected),
        (union_lcs_hits(expected, said), num_said, num_expected),
    ]
    return tuple(
        fmeasure(hits / max(of_said, 1), hits / max(of_expected, 1))
        for hits, of_said, of_expected in found
    )


def common_ngrams(expected: list[str], said: list[str], n: int) -> int:
    """The n-grams that both have in common, each counted as often as in the one with fewer."""
    counts = (
        Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (expected, said)
    )
    return sum((next(counts) & next(counts)).values())


def lcs_length(expected: Sequence[str], said: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    return len(said) - lcs_rows(expected, said)[-1].bit_count()


def lcs_rows(expected: Sequence[str], said: Sequence[str]) -> list[int]:
    """The table of LCS lengths, a row of bits for each prefix of `expected`.

    The length for the first i words of `expected` and the first j of `said` is the number of zeros
    among the lowest j bits of row i.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(said):
        places[word] = places.get(word, 0) | 1 << place
    all_ones = (1 << len(said)) - 1
    rows = [all_ones]
    for word in expected:
        row = rows[-1]
        matches = row & places.get(word, 0)
        rows.append(((row + matches) | (row - matches)) & all_ones)
    return rows


def lcs_places(expected: Sequence[str], said: Sequence[str]) -> list[int]:
    """The places in `expected` of the longest common subsequence that rouge-score picks."""
    rows = lcs_rows(expected, said)
    num_bytes = len(said) // 8 + 1
    places = []
    j = len(said)
    for i in range(len(expected), 0, -1):
        # Lengths of the LCS of the first j words said and the first i, and i - 1, expected.
        pair = rows[i], rows[i - 1]
        here, above = (j - (row & ((1 << j) - 1)).bit_count() for row in pair)
        here_bits, above_bits = (row.to_bytes(num_bytes, "little") for row in pair)
        while j > 0 and expected[i - 1] != said[j - 1]:
            byte, bit = divmod(j - 1, 8)
            left = here - (not here_bits[byte] >> bit & 1)
            if left <= above:
                break
            here, above = left, above - (not above_bits[byte] >> bit & 1)
            j -= 1
        if j > 0 and expected[i - 1] == said[j - 1]:
            places.append(i - 1)
            j -= 1
    return places


def union_lcs_hits(expected: list[list[str]], said: list[list[str]]) -> int:
    """Summary-level LCS (Lin 2004, section 3.2): the words of each expected sentence that are in
    its LCS with any sentence said, none counted more often than both texts have it."""
    left = Counter(chain(*said)) & Counter(chain(*expected))
    hits = 0
    for sentence in expected:
        known = set(sentence)
        union = {
            place
            for other in said
            if not known.isdisjoint(other)
            for place in lcs_places(sentence, other)
        }
        for place in sorted(union):
            word = sentence[place]
            if left[word] > 0:
                hits += 1
                left[word] -= 1
    return hits
