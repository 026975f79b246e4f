"""The tasks, by the name a recipe gives."""

from dataclasses import replace

from llmkit.errors import UserError, did_you_mean
from llmkit.schema import Recipe
from llmkit.tasks import chat, classify, pretrain, qa, reason, summarize, translate
from llmkit.tasks.base import (
    Example,
    Row,
    Scores,
    Segment,
    Task,
    check_template,
    texts_of,
    to_example,
)

_FILES = (summarize, translate, qa, classify, chat, reason, pretrain)
TASKS = {file.TASK.name: file.TASK for file in _FILES}

__all__ = [
    "TASKS",
    "Example",
    "Row",
    "Scores",
    "Segment",
    "Task",
    "get_task",
    "recipe_task",
    "texts_of",
    "to_example",
]


def get_task(name: str) -> Task:
    """The task of that name."""
    if name not in TASKS:
        hint = did_you_mean(name, list(TASKS))
        raise UserError(f"task: no task {name!r}{hint}; there are {', '.join(TASKS)}")
    return TASKS[name]


def recipe_task(recipe: Recipe) -> Task:
    """The recipe's task, with the score that the recipe adds; checks its template."""
    task = get_task(recipe.task)
    if recipe.template is not None:
        check_template(recipe.template, task)
    folder = recipe.evaluation.bertscore.model
    if folder is None:
        return task
    if task.is_language_modelling or task.chooses:
        raise UserError(f"evaluation.bertscore: {task.name} generates no texts to compare")
    from llmkit.metrics import bertscore  # torch, only where it is asked for

    encoder = bertscore.check(folder, recipe.evaluation.bertscore.layer)
    metrics = (*task.metrics, f"bertscore:{encoder}")
    return replace(task, metrics=metrics, scores={**task.scores, "bertscore": True})
