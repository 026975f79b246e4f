"""Corpus BLEU (Papineni et al. 2002), computed by sacreBLEU (Post 2018) with its defaults."""

from collections.abc import Sequence

import evaluate
import numpy as np
from sacrebleu.metrics import BLEU

from llmkit.metrics import compute, metric_info, sacrebleu_scores, sacrebleu_tally
from llmkit.prediction import Prediction

_scorer = BLEU()


def signature() -> str:
    """sacreBLEU's own signature of the last corpus scored."""
    return f"BLEU {_scorer.get_signature()}"


def tally(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> np.ndarray:
    """Lengths of prediction and closest reference, n-grams that match, and n-grams."""
    return sacrebleu_tally(_scorer, predictions, references)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {"bleu": sacrebleu_scores(_scorer, rows, weights)}


class Metric(evaluate.Metric):
    """BLEU of the whole corpus, 0-100."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(__doc__, "Post 2018, A Call for Clarity in Reporting BLEU Scores")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return compute("bleu", predictions, references)
