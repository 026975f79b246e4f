"""The task of a recipe, with its prompt and the settings of its metrics."""

from dataclasses import replace

from llmkit.config.schema import Evaluation, Recipe
from llmkit.data import prompt_languages
from llmkit.errors import UserError
from llmkit.metrics import OPTIONAL_SCORES
from llmkit.paths import expand
from llmkit.tasks import Task, get_task, translate, with_template


def prompt_task(recipe: Recipe) -> Task:
    """The recipe's task with the recipe's prompt; raises UserError for a bad template."""
    task, template = get_task(recipe.task), recipe.data.template
    if task is translate.TASK:
        template = template or translate.TEMPLATE
        for mark, language in prompt_languages.languages(recipe.data).items():
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
    assumed = prompt_languages.assumptions(recipe.data, recipe.data.template or translate.TEMPLATE)
    return [*assumed, *prompt_languages.contradictions(recipe.data, task.template)]


def recipe_task(recipe: Recipe) -> Task:
    """Like `prompt_task`, with the recipe's settings of the scores."""
    task = prompt_task(recipe)
    task = replace(task, metrics=tuple(_as_set(name, recipe.evaluation) for name in task.metrics))
    folder = recipe.evaluation.bertscore.model
    if folder is None:
        return task
    if task.output == "text" or task.output == "label":
        raise UserError(f"evaluation.bertscore: {task.name} generates no texts to compare")
    from llmkit.metrics import bertscore  # torch, only where it is asked for

    encoder = bertscore.check(str(expand(folder)), recipe.evaluation.bertscore.layer)
    metrics = (*task.metrics, f"bertscore:{encoder}")
    return replace(task, metrics=metrics, scores={**task.scores, **OPTIONAL_SCORES})


def _as_set(metric: str, evaluation: Evaluation) -> str:
    """The metric with the settings of the recipe."""
    if metric == "squad":
        return f"squad:{evaluation.f1}"
    if metric.startswith("bleu:auto"):
        return metric.replace("auto", evaluation.bleu.tokenize, 1)
    return metric
