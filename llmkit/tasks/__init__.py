"""The tasks, by the name a recipe gives."""

from dataclasses import replace

from llmkit.errors import UserError, did_you_mean
from llmkit.schema import Evaluation, Recipe
from llmkit.tasks import chat, classify, instruct, pretrain, qa, reason, summarize, translate
from llmkit.tasks.base import (
    Example,
    Row,
    Scores,
    Segment,
    Task,
    texts_of,
    to_example,
    with_template,
)

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
    "prompt_task",
    "prompt_warnings",
    "recipe_task",
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


def prompt_task(recipe: Recipe) -> Task:
    """The recipe's task with the recipe's prompt; raises UserError for a bad template."""
    task, template = get_task(recipe.task), recipe.template
    if task is translate.TASK:
        template = template or translate.TEMPLATE
        for mark, language in translate.languages(recipe.data).items():
            template = template.replace(f"{{{mark}}}", language)
    elif recipe.data.source_language or recipe.data.target_language:
        raise UserError(
            "data.source_language and data.target_language are for translate; remove them"
        )
    return task if template is None else with_template(task, template)


def prompt_warnings(recipe: Recipe, task: Task) -> list[str]:
    """A message for each contradiction between the task's prompt and the data, and for each
    language that the prompt only assumes."""
    if task.name != translate.TASK.name:
        return []
    assumed = translate.assumptions(recipe.data, recipe.template or translate.TEMPLATE)
    return [*assumed, *translate.contradictions(recipe.data, task.template)]


def recipe_task(recipe: Recipe) -> Task:
    """Like `prompt_task`, with the recipe's settings of the scores."""
    task = prompt_task(recipe)
    task = replace(task, metrics=tuple(_as_set(name, recipe.evaluation) for name in task.metrics))
    folder = recipe.evaluation.bertscore.model
    if folder is None:
        return task
    if task.is_language_modelling or task.chooses:
        raise UserError(f"evaluation.bertscore: {task.name} generates no texts to compare")
    from llmkit.metrics import bertscore  # torch, only where it is asked for

    encoder = bertscore.check(folder, recipe.evaluation.bertscore.layer)
    metrics = (*task.metrics, f"bertscore:{encoder}")
    return replace(task, metrics=metrics, scores={**task.scores, "bertscore": True})


def _as_set(metric: str, evaluation: Evaluation) -> str:
    """The metric with the settings of the recipe."""
    if metric == "squad":
        return f"squad:{evaluation.f1}"
    if metric.startswith("bleu:auto"):
        return metric.replace("auto", evaluation.bleu.tokenize, 1)
    return metric
