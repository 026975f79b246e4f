"""Exact match of final answers, after the last `####` of a worked answer, and of majority votes.

Several answers to a row are also scored by majority vote: the most common final answer counts, and
in a tie the one that came first.
"""

from collections import Counter
from collections.abc import Sequence

import evaluate
import numpy as np

from llmkit.answers import MARK, final_answer
from llmkit.metrics import compute, means, metric_info
from llmkit.prediction import Prediction


def signature() -> str:
    return "exact match of what follows the last ####"


def unfit(text: str) -> str | None:
    """The kind of finding for a worked answer whose final answer is missing or cannot be told."""
    if text.strip() and not final_answer(text):
        return "no final answer"
    return "no mark" if MARK not in text and "\n" in text.strip() else None


def vote(answers: Sequence[str]) -> str:
    """The final answer that most of them have."""
    return Counter(map(final_answer, answers)).most_common(1)[0][0]


def tally(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> np.ndarray:
    """(N, 2): whether the final answer is right, and whether the majority's is; NaN without
    votes."""
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        right = {final_answer(text) for text in accepted}
        voted = 100 * (vote(prediction.votes) in right) if prediction.votes else np.nan
        rows.append([100 * (final_answer(prediction.text) in right), voted])
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return means(("final_answer", "majority_vote"), rows, weights)


class Metric(evaluate.Metric):
    """Exact match over the rows, in percent."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(__doc__, "Cobbe et al. 2021, Training Verifiers to Solve Math Problems")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return compute("final_answer", predictions, references)
