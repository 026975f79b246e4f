"""Intervals and tests are right as often as they claim, and agree with sacreBLEU's."""

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from llmkit.metrics import corpus_scores, row_statistics
from llmkit.metrics.prediction import Prediction
from llmkit.scoring import significance
from llmkit.scoring.significance import compare, intervals

POPULATION = 1500  # rows, of which each experiment draws its own
ROWS = 150  # of an experiment
WORDS = [f"w{i}" for i in range(30)]


def worsened(text: str, rate: float, generator: random.Random) -> str:
    words = text.split()
    return " ".join(generator.choice(WORDS) if generator.random() < rate else w for w in words)


def population(size: int, rates: tuple[float, float], seed: int = 0):
    """Two systems' BLEU and word F1 statistics on many rows; the rows are of unequal difficulty."""
    generator = random.Random(seed)
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(4, 25))) for _ in range(size)]
    hard = [generator.random() for _ in texts]
    systems = []
    for rate in rates:
        outputs = [
            Prediction(worsened(t, rate * h, generator)) for t, h in zip(texts, hard, strict=True)
        ]
        systems.append(
            {
                name: row_statistics(name, outputs, [[t] for t in texts])
                for name in ("bleu", "squad")
            }
        )
    return systems


def drawn(statistics, picked):
    return {name: rows[picked] for name, rows in statistics.items()}


@pytest.fixture(scope="module")
def different():
    return population(POPULATION, (0.3, 0.5))


@pytest.fixture
def redraws(monkeypatch, trials):
    """Set how often rows are redrawn for intervals and exchanged for p-values: few times in the
    suite, where all of it is repeated in many experiments."""

    def set_both(resamples: tuple[int, int], exchanges: tuple[int, int]) -> None:
        monkeypatch.setattr(significance, "NUM_RESAMPLES", len(trials(*resamples)))
        monkeypatch.setattr(significance, "NUM_TRIALS", len(trials(*exchanges)))

    return set_both


def test_intervals_cover_the_true_score_and_difference(different, trials, figure, redraws):
    redraws((200, 1000), (100, 100))  # p-values are not looked at
    experiments = trials(100, 1000)
    first, second = different
    true = [corpus_scores(statistics) for statistics in different]
    names = [name for name, value in true[0].items() if np.isfinite(value)]
    covered = dict.fromkeys([(kind, name) for kind in ("score", "difference") for name in names], 0)
    generator = np.random.default_rng(1)
    for _ in experiments:
        picked = generator.integers(len(first["bleu"]), size=ROWS)
        one, other = drawn(first, picked), drawn(second, picked)
        for name, (low, high) in intervals(one).items():
            covered["score", name] += low <= true[0][name].item() <= high
        for name, result in compare(one, other).items():
            difference = (true[1][name] - true[0][name]).item()
            covered["difference", name] += result.low <= difference <= result.high
    num = len(experiments)
    # Of 100 experiments chance alone leaves out up to 5 % more.
    tolerance = 0.02 if num == 1000 else 0.06
    shares = {key: count / num for key, count in covered.items()}
    within = [abs(share - significance.CONFIDENCE_LEVEL) <= tolerance for share in shares.values()]
    shown = ", ".join(f"{name} {kind} {share:.1%}" for (kind, name), share in shares.items())
    figure("95 % intervals whose coverage is 93-97 %", sum(within), len(within), shown)


@pytest.mark.parametrize("num_rows", [1, significance.MIN_ROWS - 1, significance.MIN_ROWS])
def test_few_rows_have_scores_but_neither_interval_nor_p_value(different, num_rows):
    first, second = (drawn(statistics, slice(num_rows)) for statistics in different)
    has_enough = num_rows >= significance.MIN_ROWS
    assert bool(intervals(first)) == has_enough
    for name, found in compare(first, second, num_trials=100).items():
        expected = corpus_scores(second)[name] - corpus_scores(first)[name]
        assert found.difference == pytest.approx(expected.item())
        for value in (found.low, found.high, found.p, found.detectable):
            assert (value is not None) == has_enough


def test_p_values_are_uniform_where_nothing_differs(trials, figure, redraws):
    redraws((100, 100), (200, 1000))  # intervals are not looked at
    experiments = trials(60, 1000)
    first, second = population(POPULATION, (0.4, 0.4), seed=2)
    generator = np.random.default_rng(3)
    found = {name: [] for name in ("bleu", "f1")}
    for _ in experiments:
        picked = generator.integers(len(first["bleu"]), size=ROWS)
        results = compare(drawn(first, picked), drawn(second, picked))
        for name, values in found.items():
            values.append(results[name].p)
    num = len(experiments)
    limit = 1.63 / num**0.5  # of Kolmogorov and Smirnov's distance, at 1 %
    ranks = np.arange(1, num + 1) / num
    distances = {name: np.abs(np.sort(p) - ranks).max() for name, p in found.items()}
    shown = ", ".join(f"{name} {distance:.3f}" for name, distance in distances.items())
    reached = sum(distance <= limit for distance in distances.values())
    figure(
        "p-values are uniform under the null hypothesis",
        reached,
        len(found),
        f"{shown}; limit {limit:.3f}",
    )


def test_the_p_value_equals_sacrebleu():
    generator = random.Random(5)
    texts = [" ".join(generator.choices(WORDS, k=12)) for _ in range(120)]
    first, second = ([worsened(t, rate, generator) for t in texts] for rate in (0.3, 0.36))
    references = [[text] for text in texts]
    statistics = [
        {"bleu": row_statistics("bleu", list(map(Prediction, said)), references)}
        for said in (first, second)
    ]
    ours = compare(*statistics)["bleu"]
    _, theirs = PairedTest(
        [("first", first), ("second", second)], {"BLEU": BLEU()}, [texts], "ar"
    )()
    assert 0.001 < ours.p < 0.5
    assert ours.p == pytest.approx(theirs["BLEU"][1].p_value, abs=0.02)
    assert ours.difference == pytest.approx(
        theirs["BLEU"][1].score - theirs["BLEU"][0].score, rel=1e-12
    )


def test_a_system_does_not_differ_from_itself(different):
    one = drawn(different[0], np.arange(ROWS))
    for result in compare(one, one).values():
        assert (result.difference, result.low, result.high, result.p) == (0, None, None, 1)


@pytest.mark.parametrize("metric", ["bleu", "chrf", "ter", "rouge", "squad", "classification"])
def test_rows_that_are_all_right_or_all_wrong_have_no_interval(metric):
    """Whatever the metric: an interval without width would claim certainty."""
    references = [["a red dog slept there"], ["the mill burnt down today"]] * 10
    right = [Prediction(accepted[0]) for accepted in references]
    wrong = [Prediction("q")] * len(references)
    both = row_statistics(metric, right + wrong, references * 2)
    statistics = [{metric: rows} for rows in np.split(both, 2)]
    assert [intervals(each) for each in statistics] == [{}, {}]
    half = {metric: row_statistics(metric, right[:10] + wrong[10:], references)}
    assert all(low < high for low, high in intervals(half).values())
    assert intervals(half)
    for result in compare(statistics[1], statistics[0], num_trials=1000).values():
        assert (result.low, result.high, result.detectable) == (None, None, None)
        assert result.p == (1 if result.difference == 0 else pytest.approx(0.001, abs=0.0011))


def test_the_detectable_difference_is_detected_in_80_percent(redraws, trials):
    """Of experiments with just that true difference, four of five reach p < 0.05."""
    redraws((300, 1000), (300, 1000))
    generator = np.random.default_rng(7)
    has_answer = np.ones((ROWS, 1))
    zero = {"squad": np.hstack([np.zeros((ROWS, 2)), has_answer])}
    noise = [generator.normal(0, 10, size=(ROWS, 1)) for _ in range(20)]
    detectable = np.mean(
        [
            compare(zero, {"squad": np.hstack([rows, rows, has_answer])})["f1"].detectable
            for rows in noise
        ]
    )
    found = 0
    for _ in trials(100, 1000):
        rows = generator.normal(detectable, 10, size=(ROWS, 1))
        found += compare(zero, {"squad": np.hstack([rows, rows, has_answer])})["f1"].p < 0.05
    assert found / len(trials(100, 1000)) == pytest.approx(0.8, abs=0.1)
