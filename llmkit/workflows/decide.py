"""Deciding the values of recipe keys that are null or auto."""

import os
from collections.abc import Iterable

from torch import nn

from llmkit.config.decided import Value, undecided
from llmkit.config.recipe import recipe_keys
from llmkit.config.schema import Data, Train
from llmkit.data import prompt_languages
from llmkit.data.sources import HubSource
from llmkit.paths import expand
from llmkit.tasks import Task, get_task, translate
from llmkit.training.optim import num_decay_steps
from llmkit.workflows.training_setup import TrainingSetup


def decided_values(setup: TrainingSetup) -> dict[str, Value]:
    """The value of each key that the recipe leaves to the run, as far as there is a single one."""
    recipe, schedule, model = setup.recipe, setup.schedule, setup.recipe.model
    source = setup.rows.splits["train"].source
    is_hub_model = not os.path.isdir(expand(model.name))
    choices = {
        "model.revision": setup.record.model.commit if is_hub_model else None,
        "data.revision": source.commit if isinstance(source, HubSource) else None,
        **prompt_choices(recipe.task, recipe.data),
        "train.activation_checkpointing": setup.memory.activation_checkpointing,
        "train.decay_steps": decay_choice(schedule.num_steps, recipe.train),
        # The schema has no name for a GPU.
        "train.device": "cpu" if setup.accelerator.device.type == "cpu" else None,
        "train.dropout": dropout_choice(setup.model),
        "train.micro_batch_tokens": schedule.limit.tokens,
        "train.mixed_precision": setup.accelerator.mixed_precision,
        **metric_choices(each.task for each in setup.rows.scored.values()),
        "evaluation.every": schedule.steps_per_epoch,
        "evaluation.metric": setup.metric.name,
    }
    return undecided(recipe_keys(recipe), choices)


def prompt_choices(task_name: str, data: Data) -> dict[str, Value]:
    """The template of the task, and the languages that it names; None for a task without one."""
    template = data.template or get_task(task_name).template or None
    if task_name != translate.TASK.name:
        return {"data.template": template}
    template = data.template or translate.TEMPLATE
    languages = {
        f"data.{name}": language
        for name, language in prompt_languages.languages(data).items()
        if f"{{{name}}}" in template
    }
    return {"data.template": template, **languages}


def decay_choice(num_steps: int, settings: Train) -> int | None:
    """The steps of the decay; None for a schedule without one."""
    is_decaying = settings.schedule == "warmup_stable_decay"
    return num_decay_steps(num_steps, settings) if is_decaying else None


def dropout_choice(model: nn.Module) -> float | None:
    """The dropout of the model without its adapters; None if its layers differ."""
    rates = {
        layer.p
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Dropout) and "lora_dropout" not in name
    }
    return rates.pop() if len(rates) == 1 else None


def metric_choices(tasks: Iterable[Task]) -> dict[str, Value]:
    """The tokenizer of BLEU, and the layer of BERTScore.

    Args:
        tasks: The task of each set of rows that is scored, `auto` settled by its references. If
            they call for different tokenizers, there is no single one.
    """
    metrics = {name for task in tasks for name in task.metrics}
    tokenizers = {name.split(":")[1] for name in metrics if name.startswith("bleu:")}
    layers = {int(name.rpartition(":")[2]) for name in metrics if name.startswith("bertscore:")}
    return {
        "evaluation.bleu.tokenize": tokenizers.pop() if len(tokenizers) == 1 else None,
        "evaluation.bertscore.layer": layers.pop() if len(layers) == 1 else None,
    }
