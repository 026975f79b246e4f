"""Corpus TER (Snover et al. 2006), computed by sacreBLEU (Post 2018) with its defaults.

Of texts that share nothing it exceeds 100: lower is better.
"""

from collections.abc import Sequence

import evaluate
import numpy as np
from sacrebleu.metrics import TER

from llmkit.metrics import compute, metric_info, sacrebleu_scores, sacrebleu_tally
from llmkit.prediction import Prediction

_scorer = TER()


def signature() -> str:
    """sacreBLEU's own signature of the last corpus scored."""
    return f"TER {_scorer.get_signature()}"


def tally(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> np.ndarray:
    """Edits towards the closest reference, and the references' mean length; words."""
    return sacrebleu_tally(_scorer, predictions, references)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {"ter": sacrebleu_scores(_scorer, rows, weights)}


class Metric(evaluate.Metric):
    """Edits per 100 words of the references."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            __doc__, "Snover et al. 2006, A Study of Translation Edit Rate with Human Annotation"
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return compute("ter", predictions, references)
