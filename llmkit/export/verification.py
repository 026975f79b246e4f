"""The outputs of an export compared with those of the original model: figures and problems."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmkit.errors import count_of
from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.export.formats import Bounds
from llmkit.export.inputs import NUM_SCORED_TOKENS
from llmkit.export.outputs import Outputs
from llmkit.generation.text_stream import before_stop
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.comparison import differences_from
from llmkit.scoring.scores import SystemResult, score_predictions
from llmkit.scoring.significance import Difference
from llmkit.units import show_percent

MIN_LOGPROB = -80.0  # lower ones count as this, see `logit_differences`


@dataclass(frozen=True)
class Verification:
    """How an export differs from the original model."""

    tool: str
    """The program that opened the export, and its version."""
    num_bytes: int
    """Size of the export."""
    logit_difference: float
    """Largest difference of a normalized logit."""
    logit_error: float
    """Root mean square of the differences of logits relative to their standard deviation."""
    kl: float
    """Mean Kullback-Leibler divergence of the next-token distributions from the original ones, in
    nats."""
    identical_texts: float
    """Percentage of identical greedy completions or, for a classifier, labels."""
    metric: str
    """Name of the deciding metric."""
    score: float | None
    """Score by the deciding metric; None if it is undefined on the rows."""
    interval: tuple[float, float] | None
    change: Difference | None
    """Score of the export minus that of the original model, paired by rows."""
    tokens_per_second: float
    weight_error: float | None = None
    """Error of the weights in the worst tensor, see Bounds.weight_error; None if not compared."""


def problems(outputs: Outputs, original: Outputs) -> list[str]:
    """What makes an export a different model, whatever its precision."""
    found = []
    if outputs.end_tokens != original.end_tokens:
        found.append(
            f"completions end at token {' or '.join(map(str, outputs.end_tokens))} instead of "
            f"{original.end_tokens[0]}"
        )
    num_split = sum(
        one != other
        for one, other in zip(outputs.tokenized_texts, original.tokenized_texts, strict=True)
    )
    if num_split:
        found.append(
            f"{num_split} of {count_of(len(outputs.tokenized_texts), 'text')} are tokenized "
            "differently"
        )
    sizes = [each.log_probabilities.shape[1] for each in (outputs, original)]
    if sizes[0] != sizes[1]:
        found.append(f"the vocabulary has {sizes[0]:,} tokens instead of {sizes[1]:,}")
    elif np.isnan(outputs.log_probabilities).all(-1).any():
        found.append("some logits are NaN or infinite")
    return found


def exceeded(found: Verification, bounds: Bounds) -> list[str]:
    """The bounds that an export exceeds, each in a few words."""
    reasons = []
    if found.logit_error > bounds.logit_error:
        reasons.append(
            f"the error of the logits is {show_percent(found.logit_error, 3)} "
            f"(at most {show_percent(bounds.logit_error, 3)})"
        )
    if found.kl > bounds.kl:
        reasons.append(
            f"the next-token distributions diverge by {found.kl:.2g} nats (at most {bounds.kl:g})"
        )
    if found.weight_error is not None and found.weight_error > bounds.weight_error:
        reasons.append(
            f"the error of the weights of a layer is {show_percent(found.weight_error, 3)} "
            f"(at most {show_percent(bounds.weight_error, 3)})"
        )
    if bounds.logit_difference is not None and found.logit_difference > bounds.logit_difference:
        reasons.append(
            f"a logit differs by {found.logit_difference:.2g} "
            f"(at most {bounds.logit_difference:.2g})"
        )
    if bounds.identical_texts is not None and found.identical_texts < bounds.identical_texts:
        reasons.append(
            f"{found.identical_texts:.1f}% of greedy texts are identical "
            f"(at least {bounds.identical_texts:g}%)"
        )
    return reasons


def compare_outputs(
    outputs: Outputs,
    original: Outputs,
    test: EvaluationSet,
    stop: Sequence[str],
    metric: str,
    num_bytes: int,
) -> Verification:
    """The figures of an export without `problems`.

    Args:
        stop: Stop strings, before which completions end.
        metric: Name of the deciding metric.
        num_bytes: Size of the export.
    """
    systems = [system_result(test, each, stop) for each in (original, outputs)]
    difference, error = logit_differences(outputs.log_probabilities, original.log_probabilities)
    texts = [predicted_texts(test, each, stop) for each in (original, outputs)]
    return Verification(
        tool=outputs.tool,
        num_bytes=num_bytes,
        logit_difference=difference,
        logit_error=error,
        kl=kl_divergence(outputs.log_probabilities, original.log_probabilities),
        identical_texts=percent_identical(*texts),
        metric=metric,
        score=systems[1].scores.get(metric),
        interval=systems[1].intervals.get(metric),
        change=differences_from(*systems).get(metric),
        tokens_per_second=outputs.tokens_per_second,
    )


def logit_differences(one: np.ndarray, original: np.ndarray) -> tuple[float, float]:
    """Compare normalized logits, (positions, vocab_size) each.

    Log-probabilities below MIN_LOGPROB count as MIN_LOGPROB, because programs that
    compute probabilities in single precision cannot represent smaller ones.

    Returns:
        The largest difference, and the root mean square of the differences relative to the standard
        deviation of the original logits.
    """
    one, original = (np.maximum(each.astype(float), MIN_LOGPROB) for each in (one, original))
    original = np.where(np.isnan(one), np.nan, original)
    differences = np.abs(one - original)
    centered = original - np.nanmean(original, -1, keepdims=True)
    error = np.sqrt(np.nanmean(np.square(differences)) / np.nanmean(np.square(centered)))
    return float(np.nanmax(differences)), float(error)


def kl_divergence(one: np.ndarray, original: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of distributions from the original ones, in nats, over the
    tokens whose probability is known.

    The sums of p log(p / q) - p + q are never negative, and equal to the divergence if all
    probabilities are known.
    """
    one, original = (np.maximum(each.astype(float), MIN_LOGPROB) for each in (one, original))
    terms = np.exp(original) * (original - one) - np.exp(original) + np.exp(one)
    return float(np.nansum(terms, -1).mean())


def system_result(test: EvaluationSet, outputs: Outputs, stop: Sequence[str]) -> SystemResult:
    """The scores of a program's outputs, by the metrics of the task."""
    if test.task.output == "text":
        num_tokens = np.array([len(row) - 1 for row in test.encoded["input_ids"]])
        share = np.minimum(1, NUM_SCORED_TOKENS / num_tokens)  # of the tokens that are scored
        rows = np.column_stack([outputs.nll / share, num_tokens, test.num_bytes])
        return score_predictions(test.task, {"likelihood": rows}, [])
    if test.task.output == "label":
        predictions = predicted_labels(test, outputs)
    else:
        predictions = [Prediction(text) for text in completions(outputs, stop)]
    statistics = test.task.row_statistics(predictions, test.references)
    return score_predictions(test.task, statistics, predictions)


def predicted_labels(test: EvaluationSet, outputs: Outputs) -> list[Prediction]:
    """The most likely label of each row, with the probabilities of all labels."""
    nats = np.array(outputs.nll).reshape(-1, len(test.labels))
    likelihoods = np.exp(nats.min(-1, keepdims=True) - nats)
    rows = (likelihoods / likelihoods.sum(-1, keepdims=True)).tolist()
    chosen = [dict(zip(test.labels, row, strict=True)) for row in rows]
    return [Prediction(max(row, key=row.get), row) for row in chosen]


def completions(outputs: Outputs, stop: Sequence[str]) -> list[str]:
    """The completions up to their first stop string, stripped as predictions are."""
    return [before_stop(text, stop).strip() for text in outputs.completions]


def predicted_texts(test: EvaluationSet, outputs: Outputs, stop: Sequence[str]) -> list[str]:
    """The label or completion of each row, as a user gets it."""
    if test.task.output == "label":
        return [prediction.text for prediction in predicted_labels(test, outputs)]
    return completions(outputs, stop)


def percent_identical(one: list[str], other: list[str]) -> float:
    """The percentage of texts that are equal."""
    return 100 * sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
