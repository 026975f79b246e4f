"""Corpus chrF (Popovic 2015), computed by sacreBLEU (Post 2018) with its defaults."""

import evaluate
from sacrebleu.metrics import CHRF

from llmkit.metrics import metric_info, transpose

_scorer = CHRF()


def signature() -> str:
    """sacreBLEU's own signature of the last corpus scored."""
    return f"chrF {_scorer.get_signature()}"


class Metric(evaluate.Metric):
    """chrF of the whole corpus, 0-100."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(
            __doc__, "Popovic 2015, chrF: character n-gram F-score for automatic MT evaluation"
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return {"chrf": _scorer.corpus_score(predictions, transpose(references)).score}
