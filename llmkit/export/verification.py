"""An export's answers beside those of the original model: figures, scores, and what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmkit.errors import count_of
from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.export.answers import Answers
from llmkit.export.formats import Bounds
from llmkit.export.questions import NUM_SCORED
from llmkit.generation.text_stream import before_stop
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.comparison import differences_from
from llmkit.scoring.scores import SystemResult, score_predictions
from llmkit.scoring.significance import Difference

LEAST = -80.0  # logarithm of the smallest probability


@dataclass(frozen=True)
class Verification:
    """How an export differs from the original model."""

    tool: str
    """The program that opened the export, and its version."""
    num_bytes: int
    """Size of the export."""
    difference: float
    """Largest difference of a logit."""
    error: float
    """Root mean square of the differences of logits, as a share of their standard deviation."""
    identical: float
    """Percentage of greedy texts that are identical; of labels, for a classifier."""
    metric: str
    """The deciding score."""
    score: float | None
    interval: tuple[float, float] | None
    change: Difference | None
    """Score of the export minus that of the original model, paired by rows."""
    tokens_per_second: float
    weight_error: float | None = None
    """Largest error of a layer's weights; None if it is not bounded."""


def problems(answers: Answers, original: Answers) -> list[str]:
    """What makes an export another model whatever its precision: none if there is nothing."""
    found = []
    if answers.end_tokens != original.end_tokens:
        found.append(
            f"ends completions at token {' or '.join(map(str, answers.end_tokens))} instead of "
            f"{original.end_tokens[0]}"
        )
    num_split = sum(
        one != other for one, other in zip(answers.tokens, original.tokens, strict=True)
    )
    if num_split:
        found.append(
            f"splits {num_split} of {count_of(len(answers.tokens), 'text')} into other tokens"
        )
    sizes = [each.log_probabilities.shape[1] for each in (answers, original)]
    if sizes[0] != sizes[1]:
        found.append(f"has {sizes[0]:,} tokens instead of {sizes[1]:,}")
    elif np.isnan(answers.log_probabilities).all(-1).any():
        found.append("computes numbers that are not finite")
    return found


def exceeded(found: Verification, bounds: Bounds) -> list[str]:
    """Which bounds an export exceeds."""
    reasons = []
    if found.error > bounds.error:
        reasons.append(
            f"its logits have an error of {found.error:.2%} (at most {bounds.error:.2%})"
        )
    if found.weight_error is not None and found.weight_error > bounds.weight_error:
        reasons.append(
            f"the weights of a layer have an error of {found.weight_error:.2%} (at most "
            f"{bounds.weight_error:.2%})"
        )
    if bounds.difference is not None and found.difference > bounds.difference:
        reasons.append(
            f"a logit differs by {found.difference:.2g} (at most {bounds.difference:.2g})"
        )
    if bounds.identical is not None and found.identical < bounds.identical:
        reasons.append(
            f"{found.identical:.1f} % of greedy texts are identical (at least "
            f"{bounds.identical:.0f} %)"
        )
    return reasons


def compare_answers(
    answers: Answers,
    original: Answers,
    test: EvaluationSet,
    stop: Sequence[str],
    metric: str,
    num_bytes: int,
) -> Verification:
    """The figures of an export without `problems`.

    Args:
        stop: Stop strings, before which completions end.
        metric: The deciding score.
        num_bytes: Size of the export.
    """
    systems = [system_result(test, each, stop) for each in (original, answers)]
    difference, error = logit_differences(answers.log_probabilities, original.log_probabilities)
    return Verification(
        answers.tool,
        num_bytes,
        difference,
        error,
        share_of_identical(*(outputs(test, each, stop) for each in (original, answers))),
        metric,
        systems[1].scores.get(metric),
        systems[1].intervals.get(metric),
        differences_from(*systems).get(metric),
        answers.tokens_per_second,
    )


def logit_differences(one: np.ndarray, original: np.ndarray) -> tuple[float, float]:
    """The largest difference of normalized logits, and the root mean square of the differences as a
    share of their standard deviation.

    Probabilities below e**LEAST count as that: single precision, in which some programs compute
    them, has no smaller ones.
    """
    one, original = (np.maximum(each.astype(float), LEAST) for each in (one, original))
    original = np.where(np.isnan(one), np.nan, original)
    differences = np.abs(one - original)
    centered = original - np.nanmean(original, -1, keepdims=True)
    error = np.sqrt(np.nanmean(np.square(differences)) / np.nanmean(np.square(centered)))
    return float(np.nanmax(differences)), float(error)


def system_result(test: EvaluationSet, answers: Answers, stop: Sequence[str]) -> SystemResult:
    """The scores of a program's answers, by the metrics of the task."""
    if test.task.output == "text":
        num_tokens = np.array([len(row) - 1 for row in test.encoded["input_ids"]])
        share = np.minimum(1, NUM_SCORED / num_tokens)  # of the tokens that are scored
        rows = np.column_stack([answers.nats / share, num_tokens, test.num_bytes])
        return score_predictions(test.task, {"likelihood": rows}, [])
    if test.task.output == "label":
        predictions = predicted_labels(test, answers)
    else:
        predictions = [Prediction(text) for text in completions(answers, stop)]
    statistics = test.task.row_statistics(predictions, test.references)
    return score_predictions(test.task, statistics, predictions)


def predicted_labels(test: EvaluationSet, answers: Answers) -> list[Prediction]:
    """The most likely label of each row, with the probabilities of all labels."""
    nats = np.array(answers.nats).reshape(-1, len(test.labels))
    likelihoods = np.exp(nats.min(-1, keepdims=True) - nats)
    rows = (likelihoods / likelihoods.sum(-1, keepdims=True)).tolist()
    chosen = [dict(zip(test.labels, row, strict=True)) for row in rows]
    return [Prediction(max(row, key=row.get), row) for row in chosen]


def completions(answers: Answers, stop: Sequence[str]) -> list[str]:
    """The completions up to their first stop string, stripped as predictions are."""
    return [before_stop(text, stop).strip() for text in answers.texts]


def outputs(test: EvaluationSet, answers: Answers, stop: Sequence[str]) -> list[str]:
    """What a user gets for each row: a label or a text."""
    if test.task.output == "label":
        return [prediction.text for prediction in predicted_labels(test, answers)]
    return completions(answers, stop)


def share_of_identical(one: list[str], other: list[str]) -> float:
    """The percentage of texts that are the same."""
    return 100 * sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
