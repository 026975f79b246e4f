"""The score that chooses the best weights and says which of two systems is better."""

from typing import NamedTuple

from llmkit.errors import UserError
from llmkit.metrics.labels import spelled_out
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Task

REQUIREMENTS = {
    "majority_vote": "evaluation.votes above 1",
    "mean_absolute_error": "ratings: three or more labels, all of them numbers",
    "quadratic_kappa": "ratings: three or more labels, all of them numbers",
}


class DecidingMetric(NamedTuple):
    """The name of a score, and its direction."""

    name: str
    higher_is_better: bool


def choose_metric(task: Task, name: str | None) -> DecidingMetric:
    """The named score, or the task's first one.

    Raises UserError if the task has no score of this name.
    """
    name = name or next(iter(task.scores))
    if name not in task.score_names:
        names = ", ".join(task.score_names)
        raise UserError(f"evaluation.metric: {task.name} has no score {name!r}; it has {names}")
    return DecidingMetric(name, task.scores.get(name, False))  # no task lists the loss


def check_metric(name: str, validation: TestSet, num_votes: int) -> None:
    """Raise UserError if the score is undefined on the validation rows, whatever is predicted."""
    task, references = validation.task, validation.references
    if name not in task.scores or task.output == "text":
        return
    perfect = []
    for answer, *_ in references:
        probabilities = {label: float(label == answer) for label in validation.answers}
        votes = [answer] * num_votes if num_votes > 1 else None
        perfect.append(Prediction(answer, probabilities if task.output == "label" else None, votes))
    for count in (1, len(perfect)):  # a score that is defined for one row is defined for all
        if name in task.score(perfect[:count], references[:count]):
            return
    labels = {accepted[0] for accepted in references}
    if task.output == "label" and len(labels) == 1:
        (label,) = labels
        raise UserError(
            f"evaluation.metric: {name} is undefined where all rows have one label, and all "
            f"validation rows have {spelled_out(label)}; choose other validation rows or "
            "another metric"
        )
    needed = REQUIREMENTS.get(name, "rows with and rows without an answer")
    raise UserError(
        f"evaluation.metric: {name} is undefined on the {len(perfect)} validation rows: it needs "
        f"{needed}; choose another metric, such as {next(iter(task.scores))}"
    )
