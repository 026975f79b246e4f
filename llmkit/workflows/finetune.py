"""The `finetune` command: prepare rows and model, train, score, report."""

import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.console import Console

from llmkit.config.decided import given_values, with_values
from llmkit.config.recipe import flat, recipe_keys, with_absolute_paths
from llmkit.config.schema import Recipe, Train
from llmkit.errors import UserError
from llmkit.evaluation.samples import take_samples
from llmkit.runs.find import resume_hint
from llmkit.runs.start import claim_run_dir, require_unused, run_lock, start_run
from llmkit.runtime.console import warning_console
from llmkit.runtime.cores import Usage, reduce_threads
from llmkit.runtime.devices import start_accelerator, wait_for_all
from llmkit.runtime.memory import peak_bytes, resident_bytes
from llmkit.runtime.peers import Peers
from llmkit.runtime.ranks import check_launcher, is_rank_zero, join_launcher, overridden_precision
from llmkit.runtime.rendezvous import from_first_process
from llmkit.runtime.signals import Signals, Stopped
from llmkit.scoring.baselines import score_baselines
from llmkit.scoring.scores import TestResults
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Scores
from llmkit.training.log import RunLog
from llmkit.training.loop import Validation, train
from llmkit.training.pace import Pace
from llmkit.training.resume import (
    ResumePoint,
    check_disk_space,
    check_recipe,
    check_reproducibility,
    find_resume_point,
    restore_run,
)
from llmkit.training.samples import Sample
from llmkit.training.saver import RunSaver
from llmkit.training.state import reproducibility_key
from llmkit.training.trackers import check_trackers, start_trackers
from llmkit.training.trainer import Trainer
from llmkit.workflows.decide import decided_values
from llmkit.workflows.score_run import Trained, score_run
from llmkit.workflows.training_setup import TrainingSetup, setup_training

NUM_SIZED = 20  # first steps, whose largest micro-batch is taken as the largest of all steps


class FinishedRun(NamedTuple):
    """A finished run and its results."""

    run: Path
    results: TestResults
    """Results on the test set `test`."""


def finetune(
    recipe: Recipe,
    run: Path,
    console: Console,
    signals: Signals | None = None,
    *,
    resume: bool = False,
    allowed_changes: tuple[str, ...] = (),
    is_default_name: bool = False,
) -> FinishedRun:
    """Fine-tune with a recipe, score the model before and after, and write a report.

    Args:
        run: The folder of the run.
        signals: Stop requests; default: none.
        resume: Continue from the newest checkpoint in the folder.
        allowed_changes: Keys of the recipe, `data.SPLIT` or `model` that may differ from the
            resumed run.
        is_default_name: If another run has taken the folder in the meantime, use another name.

    Raises:
        UserError: For a mistake in the recipe, the rows or the options.
        Stopped: After a stop request; a checkpoint is written.

    An exception raised during or after the training has the folder as its attribute `run`.
    """
    started, signals = time.perf_counter(), signals or Signals()
    check_trackers(recipe.trackers)
    join_launcher()
    check_launcher()
    console = console if is_rank_zero() else Console(quiet=True)
    options = [f"--allow-change={key}" for key in allowed_changes]
    peers = Peers(signals, lambda: resume_hint(run, options, has_launcher=True))
    with ExitStack() as locks:
        resume_point = lock_run_to_resume(run, locks, console) if resume else None
        if resume_point is not None:
            recipe = recipe_to_resume(recipe, resume_point, allowed_changes)
        setup = prepare(recipe, resume_point, allowed_changes, console)
        if not resume:
            run = claim_run(run, locks, is_default_name=is_default_name)
        console.print(f"run     {run}")
        with ending_together(run, peers):
            trained = train_in_run(setup, run, console, signals, resume_point)
            results = score_run(setup, run, console, trained, started)
        return FinishedRun(run, results)


def lock_run_to_resume(run: Path, locks: ExitStack, console: Console) -> ResumePoint:
    """Lock the folder of a run until `locks` closes; returns the checkpoint to resume from."""

    def find() -> ResumePoint:
        locks.enter_context(run_lock(run))
        return find_resume_point(run, console)

    return from_first_process(find, ResumePoint)


def recipe_to_resume(
    recipe: Recipe, resume_point: ResumePoint, allowed_changes: tuple[str, ...]
) -> Recipe:
    """The recipe, where values that the run decided are again left to the run; see `given_values`.

    Raises UserError if it differs from the run's recipe in a key that may not change.
    """
    before, now = recipe_keys(resume_point.recipe), recipe_keys(recipe)
    recipe = with_values(recipe, given_values(now, resume_point.decided, before))
    check_recipe(before, recipe_keys(recipe), allowed_changes)
    return recipe


def claim_run(run: Path, locks: ExitStack, *, is_default_name: bool) -> Path:
    """Claim the folder of a new run, and lock it until `locks` closes. Returns the folder: another
    one than `run` if that is a default name and another run has taken it in the meantime."""

    def claim() -> Path:
        claimed = claim_run_dir(run) if is_default_name else run
        locks.enter_context(run_lock(claimed))
        require_unused(claimed)
        return claimed

    return from_first_process(claim, Path)


@contextmanager
def ending_together(run: Path, peers: Peers) -> Iterator[None]:
    """Tell the other processes, at the end and after a stop request, that this process is about to
    exit. Any exception gets the folder as its attribute `run`."""
    try:
        yield
        peers.say_goodbye()
    except BaseException as error:
        if isinstance(error, Stopped):
            peers.say_goodbye()
        error.run = run
        raise


def prepare(
    recipe: Recipe,
    resume_point: ResumePoint | None,
    allowed_changes: tuple[str, ...],
    console: Console,
) -> TrainingSetup:
    """Start the devices, prepare data and model, and check that they allow the run."""
    usage = Usage.now()
    accelerator = start_devices(recipe.train, recipe.seed, resume_point)
    setup = setup_training(recipe, accelerator, console, resume_point)
    require_same_inputs(setup)
    if resume_point is None:
        share_cores(usage, accelerator, console)
    else:
        check_reproducibility(resume_point, reproducibility_key(setup.record), allowed_changes)
    check_baselines(setup.rows.tests["test"])
    return setup


def start_devices(settings: Train, seed: int, resume_point: ResumePoint | None) -> Accelerator:
    """Start the devices; a resumed run keeps the arithmetic of its checkpoint."""
    arithmetic = resume_point.reproducibility_key.arithmetic if resume_point else None
    accelerator = start_accelerator(
        settings.device,
        settings.mixed_precision,
        seed,
        arithmetic,
        deterministic=settings.deterministic,
    )
    ignored = overridden_precision(accelerator.mixed_precision)
    if ignored is not None:
        warning_console().print(
            f"warning: mixed_precision={ignored} of accelerate's configuration is ignored; "
            f"train.mixed_precision={settings.mixed_precision} decides"
        )
    return accelerator


def require_same_inputs(setup: TrainingSetup) -> None:
    """Raise UserError unless all processes have read the same rows and the same model, which
    machines that share no folder may not."""
    key = reproducibility_key(setup.record)
    inputs = flat({"data": key.data, "model": key.model})
    inputs_of_all = gather_object([(platform.node(), dict(inputs))])
    _, of_first = inputs_of_all[0]
    for machine, inputs in inputs_of_all:
        for name in [name for name, value in inputs.items() if value != of_first[name]]:
            raise UserError(
                f"{name.rpartition('.')[0]}: differs between {inputs_of_all[0][0]} and {machine}; "
                "give all machines the same files"
            )


def share_cores(usage: Usage, accelerator: Accelerator, console: Console) -> None:
    """Leave cores to other programs that use them, if this is the only process, on a CPU.

    usage: That of the cores before data and model were prepared.
    """
    if accelerator.num_processes == 1 and accelerator.device.type == "cpu":
        note = reduce_threads(usage)
        if note is not None:
            console.print(f"threads {note}")


def check_baselines(test: TestSet) -> None:
    """Score the baselines on one row, so that a metric that cannot run fails before training."""
    if test.task.output != "text":
        score_baselines(test, num_rows=1)


def train_in_run(
    setup: TrainingSetup,
    run: Path,
    console: Console,
    signals: Signals,
    resume_point: ResumePoint | None,
) -> Trained:
    """Train, and leave checkpoints and the best weights in the folder of the run."""
    started, peak = time.perf_counter(), predicted_peak(setup)
    recipe, accelerator, schedule = setup.recipe, setup.accelerator, setup.schedule
    trainer = Trainer.build(setup.model, schedule, recipe.train, accelerator)
    keys = recipe_keys(recipe)
    if resume_point is not None:
        is_same = recipe_keys(resume_point.recipe) == keys
        restore_run(resume_point, trainer, setup.tokenizer, run, is_same_recipe=is_same)
    progress, decided = trainer.progress, decided_values(setup)
    if accelerator.is_main_process:
        resolved = with_values(with_absolute_paths(recipe), decided).model_dump(mode="json")
        start_run(run, resolved, setup.record, {key: keys[key] for key in decided})
    wait_for_all(accelerator)
    start_trackers(accelerator, recipe.trackers, keys, run, progress.step)
    saver = RunSaver(run, setup.tokenizer, recipe, reproducibility_key(setup.record), decided)
    logged = run if accelerator.is_main_process else None
    log_every = recipe.train.log_every
    try:
        with RunLog(logged, schedule.num_steps, log_every, console, accelerator.log) as log:
            log.resume_from(progress.step, progress.validation_pending)
            if resume_point is None:
                check_disk_space(trainer, setup.tokenizer, run, recipe.checkpoint.keep)
            train(trainer, validation_of(setup, signals), saver, log, signals)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
    seconds = round(time.perf_counter() - started, 1)
    costs = costs_of(trainer.pace, peak, peak_bytes(accelerator.device))
    return Trained(progress.best_step, seconds, costs)


def predicted_peak(setup: TrainingSetup) -> int:
    """Predict the peak memory of the training in bytes, before it starts. On a CPU, it includes the
    memory that the process already uses for libraries and rows."""
    tokens = max(map(setup.schedule.largest_size, range(min(NUM_SIZED, setup.schedule.num_steps))))
    total = setup.memory.usage.total(tokens)
    if setup.accelerator.device.type == "cuda":
        return total
    return resident_bytes() + total - setup.memory.usage.weights


def costs_of(pace: Pace, predicted_bytes: int, num_bytes: int) -> dict[str, dict[str, float]]:
    """Predicted and actual costs, see `SavedResults.costs`."""
    costs = {"peak_bytes": {"predicted": predicted_bytes, "actual": num_bytes}}
    if pace.predicted is not None:
        predicted, actual = round(pace.predicted, 1), round(pace.seconds, 1)
        costs["step_seconds"] = {"predicted": predicted, "actual": actual}
    return costs


def validation_of(setup: TrainingSetup, signals: Signals) -> Validation:
    """The validation settings of the recipe; a stop request interrupts a validation."""
    recipe, evaluator = setup.recipe, replace(setup.evaluator, signals=signals)

    def score() -> tuple[Scores, list[Sample]]:
        model, rows = setup.model, setup.rows.validation
        result = evaluator.evaluate(model, rows)
        return result.scores, take_samples(evaluator, model, rows, result.predictions)

    return Validation(
        score,
        *setup.metric,
        every=recipe.evaluation.every or setup.schedule.steps_per_epoch,
        patience=recipe.evaluation.early_stopping_patience,
    )
