"""The tasks by name."""

from llmkit.errors import UserError, did_you_mean
from llmkit.tasks import chat, classify, instruct, pretrain, qa, reason, summarize, translate
from llmkit.tasks.base import (
    Example,
    Row,
    Scores,
    Segment,
    Task,
    is_blank,
    texts_of,
    to_example,
)
from llmkit.tasks.templates import with_template

_FILES = (summarize, translate, qa, classify, instruct, chat, reason, pretrain)
TASKS = {file.TASK.name: file.TASK for file in _FILES}

__all__ = [
    "TASKS",
    "Example",
    "Row",
    "Scores",
    "Segment",
    "Task",
    "get_task",
    "is_blank",
    "texts_of",
    "to_example",
    "with_template",
]


def get_task(name: str) -> Task:
    """The task of that name."""
    if name not in TASKS:
        hint = did_you_mean(name, list(TASKS))
        there_are = f"; there are {', '.join(TASKS)}"
        raise UserError(f"task: no task {name!r}{hint or there_are}")
    return TASKS[name]
