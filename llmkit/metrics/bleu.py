"""Corpus BLEU (Papineni et al. 2002), computed by sacreBLEU (Post 2018) with its defaults."""

import evaluate
from sacrebleu.metrics import BLEU

from llmkit.metrics import metric_info, transpose

_scorer = BLEU()


def signature() -> str:
    """sacreBLEU's own signature of the last corpus scored."""
    return f"BLEU {_scorer.get_signature()}"


class Metric(evaluate.Metric):
    """BLEU of the whole corpus, 0-100."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(__doc__, "Post 2018, A Call for Clarity in Reporting BLEU Scores")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return {"bleu": _scorer.corpus_score(predictions, transpose(references)).score}
