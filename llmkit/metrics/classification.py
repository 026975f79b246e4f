"""Accuracy, macro-F1, AUC and calibration error of predicted labels; of ratings also the mean
absolute error and the quadratic weighted kappa.

The predicted label is the prediction's text. AUC and calibration error are computed from the
probabilities alone; they are NaN if a row lacks the probability of any label.

The setting is `ratings` if the labels of the task are ratings (three or more, all of them numbers,
such as 1 to 5 stars), or else `classes`, which have neither mean absolute error nor kappa. `auto`
decides by the references, never by the predictions, so that all systems get the same scores. If a
predicted label is not a number, both of these scores are NaN.

Definitions: scikit-learn's f1_score(average="macro"), roc_auc_score(multi_class="ovr"),
mean_absolute_error and cohen_kappa_score(weights="quadratic") with evenly spaced `labels`; Guo et
al. 2017 (arXiv 1706.04599) for the calibration error, with NUM_BINS bins of equal width.
"""

from collections.abc import Sequence

import numpy as np

from llmkit.metrics.labels import every_probability, number_of, ratings_of
from llmkit.metrics.prediction import Prediction

NUM_BINS = 15
MAX_PAIRED_VALUES = 64  # with more values, sorting is faster than comparing all pairs


def signature(labels: str = "auto") -> str:
    of_ratings = ", mean absolute error in units of the labels, quadratic weighted kappa"
    return (
        "macro-F1 over the labels that occur, AUC one-vs-rest, "
        f"calibration error of {NUM_BINS} bins{of_ratings if labels == 'ratings' else ''}"
    )


def resolve_settings(references: Sequence[list[str]], labels: str = "auto") -> str:
    """`ratings` or `classes`, whichever fits the references that are not empty, for `auto`."""
    if labels != "auto":
        return labels
    return "ratings" if ratings_of({label for label, *_ in references if label}) else "classes"


def labels_of(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> list[str]:
    """All labels that occur: numbers in ascending order, then others in alphabetical order."""
    predicted = {label for p in predictions for label in (p.text, *(p.probabilities or ()))}
    return sorted(predicted | {accepted[0] for accepted in references}, key=_sort_key)


def _sort_key(label: str) -> tuple[float, str]:
    number = number_of(label)
    return (np.inf if number is None else number), label


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]], labels: str = "auto"
) -> np.ndarray:
    """(N, 4 + L): the true and the predicted label, as indices into the L labels that occur; both
    as ratings, or NaN; and the probability of each of the L labels, or NaN."""
    are_ratings = resolve_settings(references, labels) == "ratings"
    names = labels_of(predictions, references)
    index_of = {label: index for index, label in enumerate(names)}
    ratings = {label: number_of(label) if are_ratings else None for label in names}
    rows = np.empty((len(predictions), 4 + len(names)))
    for row, prediction, (true, *_) in zip(rows, predictions, references, strict=True):
        row[:2] = index_of[true], index_of[prediction.text]
        row[2:4] = ratings[true], ratings[prediction.text]  # None becomes NaN
        row[4:] = every_probability(prediction.probabilities, names)
    return rows


def scores(rows: np.ndarray, weights: np.ndarray, _: str = "auto") -> dict[str, np.ndarray]:
    """Each score (R,), in percent except for the mean absolute error; NaN where labels or
    probabilities leave it undefined."""
    true, predicted = rows[:, :2].astype(int).T
    ratings, probabilities = rows[:, 2:4], rows[:, 4:]
    labels = np.arange(probabilities.shape[1])
    # (N, L), as floats: products of floats and booleans are slow.
    is_true, is_predicted = ((of[:, None] == labels).astype(float) for of in (true, predicted))
    right = weights @ (is_true * is_predicted)
    total = weights.sum(1)
    occurring = weights @ is_true + weights @ is_predicted
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / occurring
    values = {"accuracy": right.sum(1) / total, "macro_f1": _mean_of_known(f1.T)}
    values["auc"] = auc(true, probabilities, weights)
    values["calibration_error"] = calibration_error(true, probabilities, weights)
    values["quadratic_kappa"] = quadratic_kappa(ratings, weights)
    distances = np.abs(ratings[:, 0] - ratings[:, 1])
    percent = {name: 100 * of_score for name, of_score in values.items()}
    return percent | {"mean_absolute_error": weights @ distances / total}


def confusion(true: np.ndarray, predicted: np.ndarray, num_labels: int) -> np.ndarray:
    """(L, L): number of rows by true label (first axis) and predicted label (second axis)."""
    cells = true * num_labels + predicted
    return np.bincount(cells, minlength=num_labels**2).reshape(num_labels, num_labels)


def auc(true: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,): one-vs-rest AUC, averaged over the labels that some but not all rows have.

    The AUC of a label is how often a row with the label has a higher probability of it than a row
    with another label; ties count half.
    """
    if np.isnan(probabilities).any():
        return np.full(len(weights), np.nan)
    # Both labels of a pair have the same AUC, but rounding could break ties of the other one.
    labels = [1] if probabilities.shape[1] == 2 else np.unique(true)
    counts, num_all = weights.astype(np.float32), weights.sum(1)  # exact below 2**24
    by_label = []
    for label in labels:
        is_label = true == label
        inside = weights[:, is_label]
        num_inside = inside.sum(1)
        below = _weight_below(probabilities[:, label], counts, is_label)
        with np.errstate(invalid="ignore"):
            by_label.append((inside * below).sum(1) / (num_inside * (num_all - num_inside)))
    return _mean_of_known(np.array(by_label))


def _weight_below(numbers: np.ndarray, weights: np.ndarray, is_value: np.ndarray) -> np.ndarray:
    """(R, V): for each of the V numbers that a mask (N,) picks, the weight of the other numbers
    below it and half the weight of those equal to it; numbers (N,), weights (R, N) are integral."""
    values = numbers[is_value]
    if len(values) <= MAX_PAIRED_VALUES:  # comparing all pairs is then faster than sorting
        is_below = (numbers[:, None] < values).astype(np.float32)
        is_below += numbers[:, None] <= values
        is_below[is_value] = 0
        return (weights @ is_below).astype(float) / 2
    others = np.flatnonzero(~is_value)
    others = others[np.argsort(numbers[others])]
    sums = np.zeros((len(weights), len(others) + 1))
    np.cumsum(weights[:, others], axis=1, dtype=float, out=sums[:, 1:])
    starts, ends = (np.searchsorted(numbers[others], values, side) for side in ("left", "right"))
    return (sums[:, starts] + sums[:, ends]) / 2


def calibration_error(
    true: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(R,): distance of confidence and accuracy, averaged over bins of rows by confidence.

    The confidence is the highest probability, the accuracy that of its label. A bin holds its upper
    edge: (0, 1 / NUM_BINS], (1 / NUM_BINS, 2 / NUM_BINS], ...
    """
    if np.isnan(probabilities).any():
        return np.full(len(weights), np.nan)
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == true
    edges = np.arange(1, NUM_BINS) / NUM_BINS
    gaps = np.zeros((len(true), NUM_BINS))
    gaps[np.arange(len(true)), np.searchsorted(edges, confidence)] = confidence - is_right
    return np.abs(weights @ gaps).sum(1) / weights.sum(1)


def quadratic_kappa(ratings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,): Cohen's kappa (1968) of true and chosen ratings (N, 2), disagreements weighted by their
    square; NaN where all of them are the same.

    That is 1 minus the mean squared distance over the one that true and chosen ratings would have
    if they were independent: the sum of their variances and the squared distance of their means.
    """
    total = weights.sum(1)
    centered = ratings - ratings.mean()  # else the differences of squares lose digits
    means = weights @ centered / total[:, None]
    variances = weights @ centered**2 / total[:, None] - means**2
    observed = weights @ (ratings[:, 0] - ratings[:, 1]) ** 2 / total
    expected = variances.sum(1) + (means[:, 0] - means[:, 1]) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.round(1 - observed / expected, 12) + 0.0  # no 1e-16 or -0.0 for 0
    return np.where(expected > 1e-12, kappa, np.nan)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where there are no other values."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(0) / known.sum(0)
