"""Exact match of final answers, behind the last `####` of a worked answer, and of a majority's.

A list of several answers to a row is also scored by vote: the final answer that most of them have,
of equally common ones the one that came first.
"""

from collections import Counter
from collections.abc import Sequence

import evaluate
import numpy as np

from llmkit.metrics import compute, means, metric_info
from llmkit.tasks.reason import final_answer


def signature() -> str:
    return "exact match of what follows the last ####"


def vote(answers: Sequence[str]) -> str:
    """The final answer that most of them have."""
    return Counter(map(final_answer, answers)).most_common(1)[0][0]


def tally(predictions: Sequence[str | list[str]], references: Sequence[list[str]]) -> np.ndarray:
    """(N, 2): whether the first answer's end is right, and the majority's; the latter is NaN where
    there is one answer only."""
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        answers = [prediction] if isinstance(prediction, str) else prediction
        right = {final_answer(text) for text in accepted}
        voted = 100 * (vote(answers) in right) if len(answers) > 1 else np.nan
        rows.append([100 * (final_answer(answers[0]) in right), voted])
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return means(("final_answer", "majority_vote"), rows, weights)


class Metric(evaluate.Metric):
    """Exact match over the rows, in percent."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(__doc__, "Cobbe et al. 2021, Training Verifiers to Solve Math Problems")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return compute("final_answer", predictions, references)
