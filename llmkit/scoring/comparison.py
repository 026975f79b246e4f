"""A model next to the untuned model and the baselines on the same rows."""

from collections.abc import Mapping

from llmkit.scoring.baselines import score_baselines
from llmkit.scoring.deciding_metric import DecidingMetric, choose_metric
from llmkit.scoring.scores import SystemResult, TestResults
from llmkit.scoring.significance import NUM_QUICK_TRIALS, Difference, compare, count_rows
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import UNTUNED


def compare_on_test_sets(
    tests: Mapping[str, TestSet],
    systems: dict[str, dict[str, SystemResult]],
    main: str,
    metric: DecidingMetric,
) -> dict[str, TestResults]:
    """The results on each test set: the given systems and the baselines.

    Args:
        systems: The result of each system on each test set, by their names; all but the main one
            may lack test sets.
        main: Name of the system in question.
        metric: Deciding metric of the recipe's task; a test set of another task has its own.
    """
    return {
        name: compare_with_others(
            test,
            {label: results[name] for label, results in systems.items() if name in results},
            main,
            metric,
        )
        for name, test in tests.items()
    }


def compare_with_others(
    test: TestSet, systems: dict[str, SystemResult], main: str, metric: DecidingMetric
) -> TestResults:
    """The results on one test set: the given systems and the baselines."""
    if metric.name not in test.task.score_names:
        metric = choose_metric(test.task, None)
    differences = {}
    if main != UNTUNED and UNTUNED in systems:
        differences = differences_from(systems[UNTUNED], systems[main])
    return TestResults(test, metric, systems | score_baselines(test), main, differences)


def differences_from(other: SystemResult, main: SystemResult) -> dict[str, Difference]:
    """Difference of each score of `main` from `other`'s; none if their tokenizers split the same
    texts into different rows."""
    if count_rows(main.statistics) != count_rows(other.statistics):
        return {}
    differences = compare(other.statistics, main.statistics, num_trials=NUM_QUICK_TRIALS)
    return {name: differences[name] for name in main.scores if name in other.scores}
