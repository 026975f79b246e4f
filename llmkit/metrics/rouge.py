"""ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004), computed by the rouge-score library."""

import re
from importlib.metadata import version

import evaluate
from rouge_score.rouge_scorer import RougeScorer

from llmkit.metrics import metric_info

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def signature() -> str:
    return f"rouge-score {version('rouge-score')}, F1, stemmer, best reference"


def split_sentences(text: str) -> str:
    """ROUGE-Lsum takes a line for a sentence; texts without line breaks are split at full stops."""
    return text if "\n" in text.strip() else re.sub(r"(?<=[.!?])\s+", "\n", text.strip())


class Metric(evaluate.Metric):
    """Mean F1 over the rows, in percent; a row counts its best reference by that score."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            __doc__, "Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries"
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        scorer = RougeScorer(list(TYPES), use_stemmer=True)
        totals = dict.fromkeys(TYPES, 0.0)
        for prediction, accepted in zip(predictions, references, strict=True):
            scores = scorer.score_multi(
                [split_sentences(text) for text in accepted], split_sentences(prediction)
            )
            for name in TYPES:
                totals[name] += scores[name].fmeasure
        return {name: 100 * total / len(predictions) for name, total in totals.items()}
