"""ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004), computed by the rouge-score library."""

import re
from collections.abc import Sequence
from importlib.metadata import version

import evaluate
import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from llmkit.metrics import compute, means, metric_info
from llmkit.prediction import Prediction

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def signature() -> str:
    return f"rouge-score {version('rouge-score')}, F1, stemmer, best reference"


def split_sentences(text: str) -> str:
    """ROUGE-Lsum takes a line for a sentence; texts without line breaks are split at full stops."""
    return text if "\n" in text.strip() else re.sub(r"(?<=[.!?])\s+", "\n", text.strip())


def tally(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> np.ndarray:
    """F1 of each of TYPES; a row counts its best reference by that score."""
    scorer = RougeScorer(list(TYPES), use_stemmer=True)
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        best = scorer.score_multi(
            [split_sentences(text) for text in accepted], split_sentences(prediction.text)
        )
        rows.append([100 * best[name].fmeasure for name in TYPES])
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return means(TYPES, rows, weights)


class Metric(evaluate.Metric):
    """Mean F1 over the rows, in percent."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            __doc__, "Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries"
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return compute("rouge", predictions, references)
