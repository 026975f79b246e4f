"""The tasks, by the name a recipe gives."""

from llmkit.errors import UserError, did_you_mean
from llmkit.tasks import pretrain, qa, summarize, translate
from llmkit.tasks.base import Example, Row, Scores, Segment, Task, check_template, to_example

TASKS = {task.name: task for task in (summarize.TASK, translate.TASK, qa.TASK, pretrain.TASK)}

__all__ = ["TASKS", "Example", "Row", "Scores", "Segment", "Task", "get_task", "to_example"]


def get_task(name: str, template: str | None = None) -> Task:
    """The task of that name; checks the recipe's template against it."""
    if name not in TASKS:
        hint = did_you_mean(name, list(TASKS))
        raise UserError(f"task: no task {name!r}{hint}; there are {', '.join(TASKS)}")
    task = TASKS[name]
    if template is not None:
        check_template(template, task)
    return task
