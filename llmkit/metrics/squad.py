"""Exact match and F1 of SQuAD (Rajpurkar et al. 2016, 2018), as its official scripts define them.

A row whose references are all empty has no answer, and an empty prediction is right. If a set has
rows with and without an answer, both kinds are also scored separately, under the names of the
official script. There is one deviation: a reference that normalization would leave empty, such as
"A" or "?", is only lowercased, so that an empty prediction never matches it.

The setting `characters` segments as MLQA does (Lewis et al. 2020): each character of a script
without spaces counts as a word, and punctuation of all scripts is removed.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from llmkit.metrics import means
from llmkit.metrics.prediction import Prediction
from llmkit.metrics.writing_systems import is_unspaced, split_words

SCORES_BY_KIND = ("HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1")


def signature(segmentation: str = "words") -> str:
    return "SQuAD 2.0 EM and F1" + ("" if segmentation == "words" else f" of {segmentation}")


def misjudged_as(text: str, segmentation: str = "words") -> str | None:
    """The kind of finding for a reference that exact match and F1 misjudge."""
    return "not segmented" if segmentation == "words" and is_unspaced(text) else None


def normalize(text: str, segmentation: str = "words") -> str:
    """The text in lower case, without punctuation, articles and repeated white space."""
    text = "".join(char for char in text.lower() if not _is_removed(char, segmentation))
    words = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(split_words(words) if segmentation == "characters" else words.split())


def _is_removed(char: str, segmentation: str) -> bool:
    if char in string.punctuation:
        return True
    return segmentation == "characters" and unicodedata.category(char).startswith("P")


def exact_and_f1(prediction: str, reference: str, segmentation: str) -> tuple[float, float]:
    """Whether both are equal when normalized, and the harmonic mean of precision and recall of
    their words."""
    predicted, expected = normalize(prediction, segmentation), normalize(reference, segmentation)
    if not expected and reference.strip():
        predicted, expected = prediction.lower(), reference.lower()
    predicted_words, expected_words = predicted.split(), expected.split()
    exact = float(predicted_words == expected_words)
    if not predicted_words or not expected_words:
        return exact, exact
    common = sum((Counter(predicted_words) & Counter(expected_words)).values())
    if not common:
        return exact, 0.0
    precision, recall = common / len(predicted_words), common / len(expected_words)
    return exact, 2 * precision * recall / (precision + recall)


def row_statistics(
    predictions: Sequence[Prediction],
    references: Sequence[list[str]],
    segmentation: str = "words",
) -> np.ndarray:
    """(N, 3): exact match and F1 with the best reference, and whether the row has an answer."""
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        answers = [text for text in accepted if text.strip()]
        scored = [exact_and_f1(prediction.text, text, segmentation) for text in answers or [""]]
        exact, f1 = (100 * max(values) for values in zip(*scored, strict=True))
        rows.append([exact, f1, bool(answers)])
    return np.array(rows, dtype=float)


def scores(
    rows: np.ndarray, weights: np.ndarray, segmentation: str = "words"
) -> dict[str, np.ndarray]:
    """Means over the rows; SCORES_BY_KIND are NaN unless the set has rows of both kinds."""
    has_answer = rows[:, 2].astype(bool)
    values = means(("exact_match", "f1"), rows[:, :2], weights)
    if has_answer.all() or not has_answer.any():
        return values | dict.fromkeys(SCORES_BY_KIND, np.full(len(weights), np.nan))
    for prefix, mask in (("HasAns", has_answer), ("NoAns", ~has_answer)):
        names = (f"{prefix}_exact", f"{prefix}_f1")
        values |= means(names, rows[:, :2], weights * mask)
    return values
