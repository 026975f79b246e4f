"""The work of `llmkit plan`: measure parts of a run here, predict all of it, and propose."""

import time

from rich.console import Console

from llmkit.config.schema import Recipe
from llmkit.errors import UserError
from llmkit.planning.devices import Device
from llmkit.planning.plan import Plan
from llmkit.runtime.cores import Usage, reduce_threads
from llmkit.runtime.devices import start_accelerator
from llmkit.workflows.measure import Measurements, time_parts
from llmkit.workflows.predict import predict
from llmkit.workflows.probes import mean_step
from llmkit.workflows.reckon import (
    machine_here,
    machine_of,
    predict_for,
    whole_steps,
    with_proposals,
)
from llmkit.workflows.training_setup import TrainingSetup, setup_training
from llmkit.workflows.trials import run_trials


def make_plan(
    recipe: Recipe,
    console: Console,
    budget: float | None = None,
    memory: int | None = None,
    device: Device | None = None,
    *,
    runs_trials: bool = False,
) -> Plan:
    """The plan of a recipe.

    Args:
        console: For progress.
        budget: Seconds for the run.
        memory: Bytes for the run.
        device: To reckon for, in place of this machine.
        runs_trials: Whether to train a few small runs, to forecast the loss.

    Raises:
        UserError: For every mistake in the recipe or the rows that `finetune` would refuse.
    """
    setup, found = prepare(recipe)
    step = mean_step(setup.schedule)
    if device is None:
        console.print("timing a few steps, predictions and saves ...")
        time_parts(setup, found)
        prediction = predict(setup, found, step)
        machine = machine_here(setup, found, step, prediction, memory)
    else:
        machine = machine_of(device, setup, found, memory)
        prediction = predict_for(machine, setup, found, step)
    plan = Plan(recipe.task, recipe.model.name, prediction, budget, memory)
    trials = []
    if runs_trials:
        trials = run_trials(setup, whole_steps(plan, machine, setup, step), console)
    return with_proposals(plan, machine, setup, step, trials)


def prepare(recipe: Recipe) -> tuple[TrainingSetup, Measurements]:
    """Prepare a recipe as `finetune` does."""
    started, usage = time.perf_counter(), Usage.now()
    accelerator = start_accelerator(
        recipe.train.device,
        recipe.train.mixed_precision,
        recipe.seed,
        deterministic=recipe.train.deterministic,
    )
    if accelerator.num_processes > 1:
        raise UserError("plan: start it as a single process")
    setup = setup_training(recipe, accelerator, Console(quiet=True))
    if accelerator.device.type == "cpu":
        reduce_threads(usage)
    seconds = time.perf_counter() - started
    if not setup.rows.train.was_cached:  # `finetune` will find the rows in the cache
        seconds -= setup.rows.train.seconds
    return setup, Measurements(setup_seconds=seconds)
