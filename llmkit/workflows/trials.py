"""Trials: short runs with complete schedules, whose losses forecast the loss of a long run."""

import math
from collections.abc import Callable

from accelerate.utils import set_seed
from rich.console import Console
from torch import nn

from llmkit.config.schema import Train
from llmkit.errors import UserError, count_of
from llmkit.evaluation.evaluator import token_losses
from llmkit.model.load import move_to_device
from llmkit.model.recipe_model import open_model
from llmkit.model.trainable import set_activation_checkpointing, trainable_model
from llmkit.planning.scaling_law import Trial
from llmkit.runtime.console import counting
from llmkit.training.log import RunLog
from llmkit.training.trainer import Trainer
from llmkit.workflows.training_setup import TrainingSetup

FRACTIONS = (1 / 16, 1 / 8)  # of the steps of the full run; 3/16 of its cost
MIN_STEPS = 32  # of the shortest trial; shorter trials predict little


def run_trials(setup: TrainingSetup, num_steps: int, console: Console) -> list[Trial]:
    """Train for each of FRACTIONS of the steps, and compute the validation loss at the end.

    num_steps: Number of steps of the full run.

    Raises UserError if the run is too short for trials.
    """
    if num_steps * min(FRACTIONS) < MIN_STEPS:
        raise UserError(
            f"--trials: {count_of(num_steps, 'step')} are too few: the shortest trial takes "
            f"1/{round(1 / min(FRACTIONS))} of them and needs at least {MIN_STEPS}; raise "
            "--budget, train longer, or leave --trials out"
        )
    lengths = [round(fraction * num_steps) for fraction in FRACTIONS]
    with counting(console, "trials", sum(lengths)) as advance:
        return [
            Trial(length, train_and_score(setup, length, num_steps, advance)) for length in lengths
        ]


def train_and_score(
    setup: TrainingSetup, length: int, num_steps: int, advance: Callable[[int], None]
) -> float:
    """Train for `length` steps; returns the validation loss in nats per supervised token.

    Args:
        length: Number of steps of the trial.
        num_steps: Number of steps of the full run, to shorten warm-up and decay in proportion.
        advance: Called after each step with the number of steps done since the last call.
    """
    recipe, accelerator = setup.recipe, setup.accelerator
    settings = trial_settings(recipe.train, length, num_steps)
    set_seed(recipe.seed)
    model, _ = open_model(recipe, setup.rows.splits["train"])
    model = move_to_device(trainable_model(model, settings), accelerator.device)
    set_activation_checkpointing(model, setup.memory.activation_checkpointing)
    schedule = setup.schedule.with_settings(settings)
    trainer = Trainer.build(model, schedule, settings, accelerator)
    log = RunLog(None, length, 1, Console(quiet=True), lambda figures, step: None)
    for _ in range(length):
        trainer.train_step(log)
        advance(1)
    loss = validation_loss(setup, model)
    accelerator.free_memory()
    return loss


def trial_settings(settings: Train, length: int, num_steps: int) -> Train:
    """The settings of a trial, with the schedule of the full run in proportion."""
    changes = {"max_steps": length, "epochs": None}
    if isinstance(settings.warmup_steps, int):
        changes["warmup_steps"] = math.ceil(settings.warmup_steps * length / num_steps)
    if settings.decay_steps is not None:
        changes["decay_steps"] = max(1, settings.decay_steps * length // num_steps)
    return settings.model_copy(update=changes)


def validation_loss(setup: TrainingSetup, model: nn.Module) -> float:
    """Mean loss of the validation rows in nats per supervised token."""
    rows, evaluator = setup.rows.validation, setup.evaluator
    nats = token_losses(
        model, rows.encoded, evaluator.evaluation.batch_size, evaluator.accelerator,
        evaluator.forward,
    )  # fmt: skip
    return sum(float(of_row.sum(dtype=float)) for of_row in nats) / sum(map(len, nats))
