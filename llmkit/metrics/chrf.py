"""Corpus chrF (Popovic 2015), computed by sacreBLEU (Post 2018) with its defaults."""

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import CHRF

from llmkit.metrics import sacrebleu_scores, sacrebleu_statistics
from llmkit.metrics.prediction import Prediction

_scorer = CHRF()


def signature() -> str:
    """sacreBLEU's own signature of the last corpus scored."""
    return f"chrF {_scorer.get_signature()}"


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]]
) -> np.ndarray:
    """Per row: character n-grams of the prediction, of its best reference, and common ones, by
    order."""
    return sacrebleu_statistics(_scorer, predictions, references)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {"chrf": sacrebleu_scores(_scorer, rows, weights)}
