"""How far chance alone could have moved a score: intervals of one system, tests between two.

All of it redraws rows, so it holds for corpus scores such as BLEU as for means; a score of redrawn
rows is made from their statistics.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from llmkit.metrics import RowStatistics, corpus_scores

LEVEL = 0.95  # of the intervals
RESAMPLES = 1000  # of the rows, for an interval
TRIALS = 10_000  # exchanges between two systems, for a p-value
QUICK_TRIALS = 2000  # enough to tell p < 0.001
# With 10 rows, intervals of 95 % cover the true mean in 89 to 97 % of experiments, depending on
# how the rows are distributed; with 5 rows in 82 to 85 %, with 2 in 39 to 50 %.
MIN_ROWS = 10
TOGETHER = 100  # of either that are in memory at a time
DETECTABLE = 2.802  # standard errors: 5 % two-sided, found in 80 % of experiments
TIE = 1e-9  # differences that rounding alone makes


@dataclass(frozen=True)
class Difference:
    """What a score of a second system differs by from a first one's, on the same rows."""

    difference: float
    """Second minus first."""
    low: float | None = None
    high: float | None = None
    """Ends of the interval that covers the true difference with LEVEL."""
    p: float | None = None
    """How often systems that are the same differ at least as much."""
    detectable: float | None = None
    """True difference that as many rows show in 80 % of experiments (Card et al. 2020).

    This and the three above are None where there are fewer than MIN_ROWS rows; all but p also
    where the difference is the same however the rows are redrawn."""


def intervals(statistics: RowStatistics, seed: int = 0) -> dict[str, tuple[float, float]]:
    """(low, high) of each score: the percentile bootstrap (Efron 1979; Koehn 2004 for BLEU).

    Empty with fewer than MIN_ROWS rows. A score is left out if it is undefined on redrawn rows, or
    the same on all of them, as where each row is right: such rows do not tell how much the score
    varies, and an interval without width would claim certainty.
    """
    if count_rows(statistics) < MIN_ROWS:
        return {}
    (drawn,) = _resampled([statistics], np.random.default_rng(seed))
    ends = {name: _ends(values) for name, values in drawn.items()}
    return {name: each for name, each in ends.items() if each is not None}


def count_rows(statistics: RowStatistics) -> int:
    """Number of rows, which all metrics share."""
    (num_rows,) = {len(rows) for rows in statistics.values()}
    return num_rows


def compare(
    first: RowStatistics, second: RowStatistics, seed: int = 0, num_trials: int | None = None
) -> dict[str, Difference]:
    """Each score's difference; the rows of both are in the same order.

    num_trials: trials for the p-values; None for TRIALS.

    The p-value is that of approximate randomization (Noreen 1989; Riezler and Maxwell 2005): each
    row's two outputs change places or not, by lot. With fewer than MIN_ROWS rows there are
    differences only. A score that either system does not have is left out.
    """
    totals = [corpus_scores(statistics) for statistics in (first, second)]
    observed = {name: (totals[1][name] - totals[0][name]).item() for name in totals[0]}
    observed = {name: value for name, value in observed.items() if np.isfinite(value)}
    if count_rows(first) < MIN_ROWS:
        return {name: Difference(value) for name, value in observed.items()}
    drawn = _resampled([first, second], np.random.default_rng(seed))
    p_values = _p_values(first, second, np.random.default_rng(seed), num_trials or TRIALS)
    results = {}
    for name, value in observed.items():
        differences = drawn[1][name] - drawn[0][name]
        ends = _ends(differences)
        if ends is None:
            results[name] = Difference(value, p=p_values[name])
            continue
        spread = differences[np.isfinite(differences)].std(ddof=1)
        results[name] = Difference(value, *ends, p_values[name], DETECTABLE * float(spread))
    return results


def _resampled(
    systems: list[RowStatistics], generator: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Scores (RESAMPLES,) of as many rows, drawn with replacement: the same for each system, so
    what makes a row hard cancels out."""
    parts = [
        [corpus_scores(statistics, counts) for statistics in systems]
        for counts in _draws(count_rows(systems[0]), generator)
    ]
    return [_joined(of_one) for of_one in zip(*parts, strict=True)]


def _draws(num_rows: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """(TOGETHER, num_rows): how often each row is drawn."""
    offsets = num_rows * np.arange(TOGETHER)[:, None]
    for _ in range(RESAMPLES // TOGETHER):
        picked = generator.integers(num_rows, size=(TOGETHER, num_rows)) + offsets
        counts = np.bincount(picked.ravel(), minlength=TOGETHER * num_rows)
        yield counts.reshape(TOGETHER, num_rows).astype(float)


def _p_values(
    first: RowStatistics, second: RowStatistics, generator: np.random.Generator, num_trials: int
) -> dict[str, float]:
    """Two-sided; the observed arrangement counts as one of the trials."""
    both = {name: np.concatenate([rows, second[name]]) for name, rows in first.items()}
    num_rows = count_rows(first)

    def differences(stays: np.ndarray) -> dict[str, np.ndarray]:
        """stays (R, N): whether a row's outputs keep their places."""
        one = corpus_scores(both, np.concatenate([stays, ~stays], 1).astype(float))
        other = corpus_scores(both, np.concatenate([~stays, stays], 1).astype(float))
        return {name: np.abs(other[name] - one[name]) for name in one}

    observed = differences(np.ones((1, num_rows), dtype=bool))
    exchanges = (
        generator.random((TOGETHER, num_rows)) < 0.5 for _ in range(num_trials // TOGETHER)
    )
    chance = _joined(map(differences, exchanges))
    return {
        name: (1 + int((values >= observed[name] - TIE).sum())) / (1 + num_trials)
        for name, values in chance.items()
    }


def _joined(parts: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    parts = list(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ends(values: np.ndarray) -> tuple[float, float] | None:
    """Ends of the interval that holds LEVEL of the values; None if all of them are the same."""
    values = values[np.isfinite(values)]  # the rows drawn may have had no loss, or only one label
    if not len(values) or np.ptp(values) <= TIE:
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high
