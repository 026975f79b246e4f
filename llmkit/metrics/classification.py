"""Accuracy, macro-F1, AUC and calibration error of labels that were chosen by their probability.

The chosen label is the prediction's text. AUC and calibration error need the probabilities of the
labels, and are NaN without them. Definitions: scikit-learn's f1_score(average="macro") and
roc_auc_score(multi_class="ovr"); Guo et al. 2017 (arXiv 1706.04599) for the calibration error, with
BINS bins of equal width.
"""

from collections.abc import Sequence

import numpy as np

from llmkit.prediction import Prediction

BINS = 15


def signature() -> str:
    return f"macro-F1 over the labels that occur, AUC one-vs-rest, calibration error of {BINS} bins"


def labels_of(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> list[str]:
    """All that occur, in the order of the alphabet."""
    said = {label for each in predictions for label in (each.text, *(each.probabilities or ()))}
    return sorted(said | {accepted[0] for accepted in references})


def tally(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> np.ndarray:
    """(N, 2 + L): the true and the chosen label, as places among the L that occur, sorted, and the
    probability of each; NaN where the system gives none."""
    labels = labels_of(predictions, references)
    place = {label: index for index, label in enumerate(labels)}
    rows = np.full((len(predictions), 2 + len(labels)), np.nan)
    for row, prediction, (true, *_) in zip(rows, predictions, references, strict=True):
        row[:2] = place[true], place[prediction.text]
        if prediction.probabilities:
            row[2:] = 0
            for label, probability in prediction.probabilities.items():
                row[2 + place[label]] = probability
    return rows


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """In percent; a score that needs probabilities is NaN where a row has none."""
    true, chosen, probabilities = rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2:]
    counts = confusion(true, chosen, probabilities.shape[1], weights)
    right = counts.diagonal(axis1=1, axis2=2)
    total = weights.sum(1)
    occurring = counts.sum(1) + counts.sum(2)  # how often a label is true, and chosen
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / occurring
    made = {"accuracy": right.sum(1) / total, "macro_f1": _mean_of_known(f1.T)}
    made["auc"] = auc(true, probabilities, weights)
    made["calibration_error"] = calibration_error(true == chosen, probabilities, weights)
    return {name: 100 * values for name, values in made.items()}


def confusion(
    true: np.ndarray, chosen: np.ndarray, num_labels: int, weights: np.ndarray
) -> np.ndarray:
    """(R, L, L): how often each label (first axis) was taken for each (second)."""
    cells = np.zeros((len(true), num_labels**2))
    cells[np.arange(len(true)), true * num_labels + chosen] = 1
    return (weights @ cells).reshape(-1, num_labels, num_labels)


def auc(true: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,): mean over the labels of how often a row of the label has a higher probability of it
    than a row of another has; equal ones count half. Labels that no row has, or each, are left out.
    """
    if np.isnan(probabilities).any():
        return np.full(len(weights), np.nan)
    each = []
    # Of two labels one says all, and the other's rounding would break ties.
    labels = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    for label in labels:
        probability = probabilities[:, label]
        order = np.argsort(probability, kind="stable")
        starts = np.flatnonzero(np.diff(probability[order], prepend=-np.inf))  # of equal ones
        is_label = true[order] == label
        drawn = weights[:, order]
        inside = np.add.reduceat(drawn * is_label, starts, axis=1)
        outside = np.add.reduceat(drawn * ~is_label, starts, axis=1)
        below = np.cumsum(outside, axis=1) - outside / 2
        with np.errstate(invalid="ignore"):
            each.append((inside * below).sum(1) / (inside.sum(1) * outside.sum(1)))
    return _mean_of_known(np.array(each))


def calibration_error(
    is_right: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(R,): mean distance of confidence and accuracy, over bins of rows of like confidence."""
    confidence = probabilities.max(1)
    bins = np.clip((np.nan_to_num(confidence) * BINS).astype(int), 0, BINS - 1)
    gaps = np.zeros((len(bins), BINS))
    gaps[np.arange(len(bins)), bins] = confidence - is_right
    return np.abs(weights @ gaps).sum(1) / weights.sum(1)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Over the first axis, NaN left out; NaN where nothing else is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(0) / known.sum(0)
