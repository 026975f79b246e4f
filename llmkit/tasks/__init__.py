"""The tasks, by the name a recipe gives."""

from llmkit.errors import UserError, did_you_mean
from llmkit.tasks import chat, classify, pretrain, qa, reason, summarize, translate
from llmkit.tasks.base import (
    Example,
    Prediction,
    Row,
    Scores,
    Segment,
    Task,
    check_template,
    text_of,
    to_example,
)

_FILES = (summarize, translate, qa, classify, chat, reason, pretrain)
TASKS = {file.TASK.name: file.TASK for file in _FILES}

__all__ = [
    "TASKS",
    "Example",
    "Prediction",
    "Row",
    "Scores",
    "Segment",
    "Task",
    "get_task",
    "text_of",
    "to_example",
]


def get_task(name: str, template: str | None = None) -> Task:
    """The task of that name; checks the recipe's template against it."""
    if name not in TASKS:
        hint = did_you_mean(name, list(TASKS))
        raise UserError(f"task: no task {name!r}{hint}; there are {', '.join(TASKS)}")
    task = TASKS[name]
    if template is not None:
        check_template(template, task)
    return task
