"""The task of a recipe, with the recipe's prompt and the settings of its metrics."""

from dataclasses import replace

from llmkit.config.schema import Data, Evaluation, Recipe
from llmkit.data import prompt_languages
from llmkit.errors import UserError
from llmkit.paths import expand
from llmkit.tasks import Task, get_task, translate, with_template


def recipe_task(recipe: Recipe) -> Task:
    """The task as the recipe sets it up; raises UserError for a bad template or setting."""
    task = prompt_task(recipe.task, recipe.data)
    if recipe.evaluation.votes > 1 and "majority_vote" not in task.scores:
        raise UserError(f"evaluation.votes: {task.name} has no final answer to vote on; remove it")
    constraint = recipe.generation.constraint
    if constraint is not None and task.output == "label":
        raise UserError(
            f"generation.{constraint}: {task.name} predicts labels and generates no text; remove it"
        )
    return _with_metric_settings(task, recipe.evaluation)


def prompt_task(name: str, data: Data) -> Task:
    """The named task with the recipe's prompt; raises UserError for a bad template."""
    task, template = get_task(name), data.template
    if task is translate.TASK:
        template = template or translate.TEMPLATE
        for placeholder, language in prompt_languages.languages(data).items():
            template = template.replace(f"{{{placeholder}}}", language)
    elif data.source_language or data.target_language:
        raise UserError(
            "data.source_language and data.target_language are for translate; remove them"
        )
    return task if template is None else with_template(task, template)


def prompt_warnings(data: Data, task: Task) -> list[str]:
    """A warning for each contradiction between the task's prompt and the data, and for each
    language that the prompt only assumes."""
    if task.name != translate.TASK.name:
        return []
    assumed = prompt_languages.assumptions(data, data.template or translate.TEMPLATE)
    return [*assumed, *prompt_languages.contradictions(data, task.template)]


def _with_metric_settings(task: Task, evaluation: Evaluation) -> Task:
    """The task with the recipe's settings of its metrics, and with BERTScore if it is set."""
    task = replace(task, metrics=tuple(_with_settings(name, evaluation) for name in task.metrics))
    folder = evaluation.bertscore.model
    if folder is None:
        return task
    if task.output != "completion":
        raise UserError(f"evaluation.bertscore: {task.name} generates no texts to compare")
    from llmkit.metrics import bertscore  # imports torch, so only if it is used

    encoder = bertscore.check(str(expand(folder)), evaluation.bertscore.layer)
    metrics = (*task.metrics, f"bertscore:{encoder}")
    return replace(task, metrics=metrics, scores={**task.scores, "bertscore": True})


def _with_settings(metric: str, evaluation: Evaluation) -> str:
    """The name of a metric, with the recipe's settings after a colon."""
    if metric == "squad":
        return f"squad:{evaluation.f1}"
    if metric.startswith("bleu:auto"):
        return metric.replace("auto", evaluation.bleu.tokenize, 1)
    return metric
