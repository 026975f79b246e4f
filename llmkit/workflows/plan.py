"""The implementation of `llmkit plan`: measure parts of a run, predict its costs, and propose
variants."""

import time

from rich.console import Console

from llmkit.config.schema import Recipe
from llmkit.errors import UserError
from llmkit.planning.devices import Device
from llmkit.planning.plan import Plan
from llmkit.runtime.cores import Usage, reduce_threads
from llmkit.runtime.devices import start_accelerator
from llmkit.workflows.estimate import Estimator, predict_on_device, with_proposals
from llmkit.workflows.machine import machine_from_datasheet, this_machine
from llmkit.workflows.measure import Measurements, time_parts
from llmkit.workflows.predict import predict
from llmkit.workflows.probes import mean_step
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
    """Make a plan for a recipe.

    Args:
        recipe: The recipe.
        console: Console for the progress.
        budget: Time budget in seconds.
        memory: Memory budget in bytes.
        device: Device to estimate the costs for; default: this machine, by measurements.
        runs_trials: Whether to train two short runs to forecast the loss.

    Raises:
        UserError: The recipe or the rows have a mistake that `finetune` would reject, or the trials
            would run on another machine than `device`.
    """
    if device is not None and runs_trials:
        raise UserError("--trials: trials run on this machine only; leave --device out")
    setup, measured = prepare(recipe)
    step = mean_step(setup.schedule)
    if device is None:
        console.print("timing a few steps, predictions and saves ...")
        time_parts(setup, measured)
        prediction = predict(setup, measured, step)
        machine = this_machine(setup, measured, step, prediction, memory)
        estimator = Estimator(machine, setup, step)
    else:
        machine = machine_from_datasheet(device, setup, measured, memory)
        estimator = Estimator(machine, setup, step)
        prediction = predict_on_device(estimator, measured)
    plan = Plan(recipe.task, recipe.model.name, prediction, budget, memory)
    trials = []
    if runs_trials:
        trials = run_trials(setup, estimator.full_run_steps(budget), console)
    return with_proposals(plan, estimator, trials)


def prepare(recipe: Recipe) -> tuple[TrainingSetup, Measurements]:
    """Prepare a recipe as `finetune` does, and time it."""
    started, usage = time.perf_counter(), Usage.now()
    accelerator = start_accelerator(
        recipe.train.device,
        recipe.train.mixed_precision,
        recipe.seed,
        deterministic=recipe.train.deterministic,
    )
    if accelerator.num_processes > 1:
        raise UserError("plan: runs in a single process only; start it without a launcher")
    setup = setup_training(recipe, accelerator, Console(quiet=True))
    if accelerator.device.type == "cpu":
        reduce_threads(usage)
    seconds = time.perf_counter() - started
    if not setup.rows.train.was_cached:  # `finetune` will read these rows from the cache
        seconds -= setup.rows.train.seconds
    return setup, Measurements(setup_seconds=seconds)
