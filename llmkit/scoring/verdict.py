"""The outcome of an evaluation in one sentence."""

from llmkit.scoring.deciding_metric import DecidingMetric
from llmkit.scoring.significance import MIN_ROWS, Difference
from llmkit.tasks import Scores

# Names of the model of a run, and of the model before fine-tuning, among the systems of a test set.
FINE_TUNED, UNTUNED = "fine-tuned", "untuned"
BEST_REFERENCE = "best of the references"  # agreement of people, not a baseline to beat
SIGNIFICANT = 0.05  # p-values below it count as a difference
TITLES = {
    "auc": "AUC", "bertscore": "BERTScore", "bleu": "BLEU", "chrf": "chrF", "f1": "F1",
    "macro_f1": "macro-F1", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum", "ter": "TER",
}  # fmt: skip


def unconstrained(system: str) -> str:
    """Name of a model whose completions are scored without the recipe's constraint, too."""
    return f"{system}, unconstrained"


def title_of(score: str) -> str:
    """The name of a score in a sentence."""
    return TITLES.get(score, score.replace("_", " "))


def verdict(
    metric: DecidingMetric, main: str, scores: dict[str, Scores], difference: Difference | None
) -> str:
    """The main system's deciding score, its difference from the untuned model, its score without a
    constraint, and a baseline that is better.

    Args:
        scores: Scores of each model and baseline, by name.
        difference: Main system minus untuned model; None if the latter was not scored.
    """
    name = metric.name
    value = scores[main].get(name)
    if value is None:
        return f"no {title_of(name)}"
    parts = [f"{title_of(name)} {rounded(value)}"]
    if difference is not None:
        parts += describe_difference(difference, metric.higher_is_better)
    free = scores.get(unconstrained(main), {}).get(name)
    if free is not None:
        parts.append(f"{rounded(free)} without its constraint")
    sign = 1 if metric.higher_is_better else -1
    baselines = {
        label: sign * of_baseline[name]
        for label, of_baseline in scores.items()
        if name in of_baseline
        and label not in (main, UNTUNED, unconstrained(main))
        and not label.startswith(BEST_REFERENCE)
    }
    best = max(baselines, key=baselines.__getitem__, default=None)
    if best is not None and baselines[best] > sign * value:
        parts.append(f"worse than the baseline {best} ({rounded(scores[best][name])})")
    return ", ".join(parts)


def describe_difference(difference: Difference, higher_is_better: bool) -> list[str]:
    """The difference from the untuned model, and whether it may be due to chance."""
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
    return [what, p if difference.p < SIGNIFICANT else f"{p} (no clear difference)"]


def rounded(value: float) -> str:
    """A score with about three digits."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
