"""The outcome of a run in one sentence."""

from llmkit.scoring.significance import MIN_ROWS, Difference
from llmkit.tasks import Scores

UNTUNED = "untuned"  # the entry of a table of scores that a fine-tuned model is compared with
BEST_REFERENCE = "best of the references"  # people, not a baseline to beat
CLEAR = 0.05  # p-values below it count as a difference
TITLES = {
    "auc": "AUC", "bertscore": "BERTScore", "bleu": "BLEU", "chrf": "chrF", "f1": "F1",
    "macro_f1": "macro-F1", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum", "ter": "TER",
}  # fmt: skip


def title_of(score: str) -> str:
    """The name of a score in a sentence."""
    return TITLES.get(score, score.replace("_", " "))


def verdict(
    metric: str, higher_is_better: bool, scores: dict[str, Scores], difference: Difference | None
) -> str:
    """The deciding score, how it compares with the untuned model, and a baseline that is better.

    scores: by model or baseline, the model in question first. difference: the model's score minus
    that of the untuned model; None where that was not scored.
    """
    main, *others = scores
    value = scores[main].get(metric)
    if value is None:
        return f"no {title_of(metric)}"
    parts = [f"{title_of(metric)} {rounded(value)}"]
    if difference is not None:
        parts += compared(difference, higher_is_better)
    sign = 1 if higher_is_better else -1
    baselines = {
        label: scores[label][metric]
        for label in others
        if metric in scores[label] and label != UNTUNED and not label.startswith(BEST_REFERENCE)
    }
    best = max(baselines, key=lambda label: sign * baselines[label], default=None)
    if best is not None and sign * baselines[best] > sign * value:
        parts.append(f"worse than the baseline {best} ({rounded(baselines[best])})")
    return ", ".join(parts)


def compared(difference: Difference, higher_is_better: bool) -> list[str]:
    """The difference from the untuned model, and whether it may be chance."""
    change = difference.difference
    if change == 0:
        what = "the same as the untuned model"
    else:
        sign, preposition = ("+", "over") if change > 0 else ("-", "against")
        what = f"{sign}{rounded(abs(change))} {preposition} the untuned model"
        what += "" if higher_is_better else " (lower is better)"
    if difference.p is None:
        return [what, f"too few test rows for a significance test (at least {MIN_ROWS})"]
    p = "p < 0.001" if difference.p < 0.001 else f"p = {difference.p:.3f}"
    return [what, p if difference.p < CLEAR else f"{p} (no clear difference)"]


def rounded(value: float) -> str:
    """A score with about three digits."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
