"""What a model, a baseline or someone's predictions score on rows."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np

from llmkit.config.schema import Recipe
from llmkit.errors import UserError, count_of
from llmkit.metrics import RowStatistics, classification, corpus_scores
from llmkit.metrics.labels import spelled_out
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.significance import QUICK_TRIALS, Difference, compare, count_rows, intervals
from llmkit.scoring.verdict import UNTUNED
from llmkit.tasks import Example, Row, Scores, Task, to_example
from llmkit.tasks.pretrain import compressor_bits_per_byte


@dataclass(frozen=True)
class TestSet:
    """Rows that predictions are scored on."""

    task: Task
    rows: list[Row]
    examples: list[Example]
    answers: Counter[str]
    """What the training rows answer, and how often, where the task asks for it."""
    unlabeled: list[Example]
    """Rows of classification that are left out, since they have no label."""

    @classmethod
    def of(cls, rows: Iterable[Row], task: Task, answers: Counter[str]) -> "TestSet":
        rows = list(rows)
        examples = [to_example(row, task) for row in rows]
        references = [example.references for example in examples]
        known_labels = [[label] for label in answers] if task.output == "label" else []
        task = task.settled(references + known_labels)
        if task.output != "label":
            return cls(task, rows, examples, answers, [])
        has_label = [example.references[0] != "" for example in examples]
        if not any(has_label):
            raise UserError(
                f"{examples[0].where}: no row from here on has a label; name labeled rows"
            )
        unlabeled = [e for e, has in zip(examples, has_label, strict=True) if not has]
        rows, examples = (list(compress(each, has_label)) for each in (rows, examples))
        return cls(task, rows, examples, answers, unlabeled)

    @property
    def references(self) -> list[list[str]]:
        """The accepted answers of each row."""
        return [example.references for example in self.examples]


@dataclass(frozen=True)
class SystemResult:
    """What a model, a baseline or someone's predictions score on rows."""

    scores: Scores
    statistics: RowStatistics = field(default_factory=dict)
    """What each row adds to them; none for a score that exists of all rows together only."""
    predictions: list[Prediction] = field(default_factory=list)
    differences: dict[str, Difference] = field(default_factory=dict)
    """Difference of each score from that of the untuned model, if that was scored too."""

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """(low, high) of the scores whose rows are there."""
        made = intervals(self.statistics) if self.statistics else {}
        return {name: made[name] for name in self.scores if name in made}


def choose_metric(recipe: Recipe, task: Task) -> tuple[str, bool]:
    """The score that chooses the best weights, and whether higher is better."""
    metric = recipe.evaluation.metric or next(iter(task.scores))
    if metric not in task.score_names:
        names = ", ".join(task.score_names)
        raise UserError(f"evaluation.metric: {task.name} has no score {metric!r}; it has {names}")
    return metric, task.scores.get(metric, False)


def check_metric(metric: str, validation: TestSet, num_votes: int) -> None:
    """Raise UserError if the score that chooses the best weights is undefined on the validation
    rows, whatever is predicted."""
    task, references = validation.task, validation.references
    if metric not in task.scores or task.output == "text":
        return
    perfect = []
    for answer, *_ in references:
        probabilities = {label: float(label == answer) for label in validation.answers}
        votes = [answer] * num_votes if num_votes > 1 else None
        perfect.append(Prediction(answer, probabilities if task.output == "label" else None, votes))
    for count in (1, len(perfect)):  # a score that is defined for one row is defined for all
        if metric in task.score(perfect[:count], references[:count]):
            return
    labels = {accepted[0] for accepted in references}
    if task.output == "label" and len(labels) == 1:
        (label,) = labels
        raise UserError(
            f"evaluation.metric: {metric} is undefined where all rows have one label, and all "
            f"validation rows have {spelled_out(label)}; choose other validation rows or "
            "another metric"
        )
    needed = {
        "majority_vote": "evaluation.votes above 1",
        "mean_absolute_error": "ratings: three or more labels, all of them numbers",
        "quadratic_kappa": "ratings: three or more labels, all of them numbers",
    }.get(metric, "rows with and rows without an answer")
    raise UserError(
        f"evaluation.metric: {metric} is undefined on the {len(perfect)} validation rows: it needs "
        f"{needed}; choose another metric, such as {next(iter(task.scores))}"
    )


def score_predictions(
    task: Task, statistics: RowStatistics, predictions: list[Prediction]
) -> SystemResult:
    """The task's scores, and the loss, as far as the statistics make them."""
    made = {name: value.item() for name, value in corpus_scores(statistics).items()}
    scores = {n: made[n] for n in task.score_names if math.isfinite(made.get(n, math.nan))}
    return SystemResult(scores, statistics, predictions)


def breakdown(task: Task, statistics: RowStatistics, groups: Sequence[str]) -> list[dict[str, Any]]:
    """Scores of the rows of each group, in the order of the names; groups: each row's own."""
    names = sorted(set(groups))
    weights = np.array([[group == name for group in groups] for name in names], dtype=float)
    made = corpus_scores(statistics, weights)
    shown = [n for n in task.score_names if n in made and np.isfinite(made[n]).any()]
    return [
        {
            "label": name,
            "rows": int(weights[index].sum()),
            "scores": {score: none_if_nan(made[score][index]) for score in shown},
        }
        for index, name in enumerate(names)
    ]


def row_scores(statistics: RowStatistics, metric: str) -> list[float | None]:
    """The score of each row as if it were alone; None where one row has no such score."""
    num_rows, one = len(next(iter(statistics.values()))), np.ones((1, 1))
    for name, rows in statistics.items():
        if metric in corpus_scores({name: rows[:1]}, one):
            alone = (corpus_scores({name: rows[i : i + 1]}, one)[metric] for i in range(num_rows))
            return [none_if_nan(value) for (value,) in alone]
    return [None] * num_rows


def none_if_nan(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def by_length(texts: Sequence[str], num_groups: int = 4) -> list[str]:
    """The group of each text: about as many of the shortest, ... of the longest; words."""
    lengths = np.array([len(text.split()) for text in texts])
    ends = np.unique(np.quantile(lengths, np.arange(1, num_groups + 1) / num_groups).astype(int))
    width = len(str(ends[-1]))  # leading spaces sort them as numbers
    starts = [int(lengths.min()), *(int(end) + 1 for end in ends[:-1])]
    names = [f"{start:>{width}} to {end:>{width}}" for start, end in zip(starts, ends, strict=True)]
    return [names[index] for index in np.searchsorted(ends, lengths)]


def score_baselines(test: TestSet, num_rows: int | None = None) -> dict[str, SystemResult]:
    """What the task's simple answers score on the same rows, or on the first of them."""
    task, rows = test.task, test.rows[:num_rows]
    if task.output == "text":
        texts = [row["text"] for row in rows]
        return {"xz compressor": SystemResult({"bits_per_byte": compressor_bits_per_byte(texts)})}
    said = {name: [Prediction(give(row)) for row in rows] for name, give in task.baselines.items()}
    if test.answers:
        said[task.majority_baseline] = [Prediction(test.answers.most_common(1)[0][0])] * len(rows)
    references = test.references[:num_rows]
    baselines = {
        name: score_predictions(task, task.row_statistics(predictions, references), predictions)
        for name, predictions in said.items()
    }
    return baselines | score_references(task, references)


def score_references(task: Task, references: list[list[str]]) -> dict[str, SystemResult]:
    """What the best of each row's references scores against its others: how far people agree.

    The best by the task's deciding score; rows with one reference have no say. A prediction is
    scored against one reference more, so it may come out above.
    """
    if task.output == "label":
        return {}
    turns = [
        (row, text, accepted[:place] + accepted[place + 1 :])
        for row, accepted in enumerate(references)
        for place, text in enumerate(accepted)
        if len(accepted) > 1
    ]
    if not turns:
        return {}
    said = [Prediction(text) for _, text, _ in turns]
    statistics = task.row_statistics(said, [others for _, _, others in turns])
    metric, higher_is_better = next(iter(task.scores.items()))
    alone = row_scores(statistics, metric)
    ranked = sorted(
        range(len(turns)), key=lambda turn: alone[turn] or 0, reverse=not higher_is_better
    )
    kept = sorted({turns[turn][0]: turn for turn in ranked}.values())  # the last is the best
    label = "best of the references"
    if len(kept) < len(references):
        label += f", {count_of(len(kept), 'row')}"
    of_best = {name: rows[kept] for name, rows in statistics.items()}
    return {label: score_predictions(task, of_best, [said[turn] for turn in kept])}


def confusion_of(test: TestSet, main: SystemResult) -> dict[str, Any]:
    """How often each label (a row) was taken for each (a column)."""
    labels = classification.labels_of(main.predictions, test.references)
    (statistics,) = (
        rows for name, rows in main.statistics.items() if name.startswith("classification")
    )
    true, chosen = statistics[:, :2].astype(int).T
    counts = classification.confusion(true, chosen, len(labels))
    return {"labels": labels, "counts": counts.tolist()}


def tables_of(
    by_model: dict[str, dict[str, SystemResult]], tests: dict[str, TestSet]
) -> dict[str, dict[str, SystemResult]]:
    """For each test set, the scores of each model, the first also compared with the untuned one,
    and of the baselines."""
    main = next(iter(by_model))
    tables = {}
    for name, test in tests.items():
        models = {label: made[name] for label, made in by_model.items()}
        if main != UNTUNED and UNTUNED in models:
            models[main] = compared_with(models[UNTUNED], models[main])
        tables[name] = models | score_baselines(test)
    return tables


def compared_with(other: SystemResult, main: SystemResult) -> SystemResult:
    """`main` with its differences from `other`; without them if their tokenizers make different
    rows of the same texts."""
    if count_rows(main.statistics) != count_rows(other.statistics):
        return main
    found = compare(other.statistics, main.statistics, num_trials=QUICK_TRIALS)
    both_have = [name for name in main.scores if name in other.scores]
    return replace(main, differences={name: found[name] for name in both_have})
