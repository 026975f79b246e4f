"""ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004), equal to those of the rouge-score library.

rouge-score itself splits the words and stems them. The longest common subsequence is computed
bit-parallel (Hyyro 2004), because rouge-score's table of Python integers takes minutes for
documents of 20,000 words.
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
from llmkit.metrics.sentences import split_sentences
from llmkit.metrics.writing_systems import LETTER

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
MIN_UNREAD_SHARE = 0.25  # of a reference's letters, for ROUGE to misjudge it


class CachedStemmer:
    """Porter's stemmer, which stems each word once."""

    stem = staticmethod(lru_cache(maxsize=2**16)(PorterStemmer().stem))


def signature() -> str:
    return f"rouge-score {version('rouge-score')}, F1, stemmer, best reference"


def misjudged_as(text: str) -> str | None:
    """The kind of finding for a reference that ROUGE misjudges.

    rouge-score's words consist of a-z and 0-9; all other letters separate words.
    """
    if not text.strip():
        return None
    letters = regex.findall(LETTER, text.lower())
    unread = [letter for letter in letters if not re.match("[a-z0-9]", letter)]
    return "not read" if len(unread) >= MIN_UNREAD_SHARE * len(letters) else None


def split_lines(text: str) -> list[str]:
    """The units of ROUGE-Lsum: the lines of a text or, if it has only one line, its sentences."""
    return text.split("\n") if "\n" in text.strip() else split_sentences(text)


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]]
) -> np.ndarray:
    """F1 of each of ROUGE_TYPES with the reference that is best by that score.

    Where all references are empty, an empty prediction scores 100 (rouge-score: 0).
    """
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        if not any(text.strip() for text in accepted):
            rows.append([100.0 * (not prediction.text.strip())] * len(ROUGE_TYPES))
            continue
        predicted = stemmed_sentences(prediction.text)
        scored = [f1_scores(stemmed_sentences(text), predicted) for text in accepted]
        rows.append([100 * max(values) for values in zip(*scored, strict=True)])
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return means(ROUGE_TYPES, rows, weights)


def stemmed_sentences(text: str) -> list[list[str]]:
    """The stems of each sentence."""
    return [tokenize(line, CachedStemmer) for line in split_lines(text) if line]


def f1_scores(expected: list[list[str]], predicted: list[list[str]]) -> tuple[float, ...]:
    """F1 of each of ROUGE_TYPES for a reference and a prediction, both as stemmed sentences."""
    expected_words, predicted_words = list(chain(*expected)), list(chain(*predicted))
    num_expected, num_predicted = len(expected_words), len(predicted_words)
    if not num_expected or not num_predicted:
        return (0.0,) * len(ROUGE_TYPES)
    unigrams = (common_ngrams(expected_words, predicted_words, n) for n in (1, 2))
    found = [(hits, num_predicted - n, num_expected - n) for n, hits in enumerate(unigrams)]
    found += [
        (lcs_length(expected_words, predicted_words), num_predicted, num_expected),
        (union_lcs_hits(expected, predicted), num_predicted, num_expected),
    ]
    return tuple(
        fmeasure(hits / max(of_predicted, 1), hits / max(of_expected, 1))
        for hits, of_predicted, of_expected in found
    )


def common_ngrams(expected: list[str], predicted: list[str], n: int) -> int:
    """Number of common n-grams, each counted as often as in the text that has fewer of it."""
    counts = (
        Counter(zip(*(words[i:] for i in range(n)), strict=False))
        for words in (expected, predicted)
    )
    return sum((next(counts) & next(counts)).values())


def lcs_length(expected: Sequence[str], predicted: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    return len(predicted) - lcs_rows(expected, predicted)[-1].bit_count()


def lcs_rows(expected: Sequence[str], predicted: Sequence[str]) -> list[int]:
    """The table of LCS lengths, one row of bits per prefix of `expected`.

    The length for the first i words of `expected` and the first j of `predicted` is the number of
    zeros among the lowest j bits of row i.
    """
    positions: dict[str, int] = {}
    for position, word in enumerate(predicted):
        positions[word] = positions.get(word, 0) | 1 << position
    all_ones = (1 << len(predicted)) - 1
    rows = [all_ones]
    for word in expected:
        row = rows[-1]
        matches = row & positions.get(word, 0)
        rows.append(((row + matches) | (row - matches)) & all_ones)
    return rows


def lcs_positions(expected: Sequence[str], predicted: Sequence[str]) -> list[int]:
    """The positions in `expected` of the longest common subsequence that rouge-score picks."""
    rows = lcs_rows(expected, predicted)
    num_bytes = len(predicted) // 8 + 1
    positions = []
    j = len(predicted)
    for i in range(len(expected), 0, -1):
        # LCS lengths of the first j predicted words and the first i, and i - 1, expected ones.
        pair = rows[i], rows[i - 1]
        here, above = (j - (row & ((1 << j) - 1)).bit_count() for row in pair)
        here_bits, above_bits = (row.to_bytes(num_bytes, "little") for row in pair)
        while j > 0 and expected[i - 1] != predicted[j - 1]:
            byte, bit = divmod(j - 1, 8)
            left = here - (not here_bits[byte] >> bit & 1)
            if left <= above:
                break
            here, above = left, above - (not above_bits[byte] >> bit & 1)
            j -= 1
        if j > 0 and expected[i - 1] == predicted[j - 1]:
            positions.append(i - 1)
            j -= 1
    return positions


def union_lcs_hits(expected: list[list[str]], predicted: list[list[str]]) -> int:
    """Summary-level LCS (Lin 2004, section 3.2): the words of each expected sentence that are in
    its LCS with any predicted sentence, none counted more often than in either text."""
    remaining = Counter(chain(*predicted)) & Counter(chain(*expected))
    hits = 0
    for sentence in expected:
        words = set(sentence)
        union = {
            position
            for other in predicted
            if not words.isdisjoint(other)
            for position in lcs_positions(sentence, other)
        }
        for position in sorted(union):
            word = sentence[position]
            if remaining[word] > 0:
                hits += 1
                remaining[word] -= 1
    return hits
