"""The main job, in order: rows, encoded rows, training, scores, report."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from rich.console import Console

from llmkit.config.schema import Recipe
from llmkit.errors import count_of
from llmkit.families import family_of
from llmkit.io.atomic import write_manifest, write_text
from llmkit.model.load import load_model, open_model
from llmkit.model.loss import unwrap_model
from llmkit.reports import terminal
from llmkit.reports.html import write_report
from llmkit.reports.model_card import model_card
from llmkit.runs.folder import (
    claim_run_dir,
    log_path,
    model_dir,
    report_path,
    require_unused,
    run_lock,
    start_run,
)
from llmkit.runtime.console import warning_console
from llmkit.runtime.cores import Usage, leave_cores
from llmkit.runtime.devices import require_shared, start_accelerator, wait_for_all
from llmkit.runtime.ranks import check_launcher, is_rank_zero, join_launcher, overridden_precision
from llmkit.runtime.signals import Signals
from llmkit.scoring.baselines import score_baselines
from llmkit.scoring.comparison import compare_on_test_sets
from llmkit.scoring.results import write_results
from llmkit.scoring.scores import TestResults
from llmkit.scoring.verdict import UNTUNED
from llmkit.tasks import Scores
from llmkit.training.log import RunLog
from llmkit.training.loop import Validation, train
from llmkit.training.resume import (
    ResumePoint,
    check_disk_space,
    check_facts,
    check_recipe,
    find_resume_point,
    restore_run,
)
from llmkit.training.saver import RunSaver
from llmkit.training.state import facts_of
from llmkit.training.trackers import check_trackers, start_trackers
from llmkit.training.trainer import Trainer
from llmkit.workflows.training_setup import TrainingSetup, setup_training

FINE_TUNED = "fine-tuned"  # name of the system


def finetune(
    recipe: Recipe,
    run: Path,
    console: Console,
    signals: Signals | None = None,
    resumes: bool = False,
    allowed: tuple[str, ...] = (),
) -> TestResults:
    """Run a recipe into the folder `run`; returns the final results on `test`.

    resumes: go on from the newest checkpoint there. allowed: keys of the recipe, `data.SPLIT` or
    `model` that may have changed since. Raises signals.Stopped where that was asked for.
    """
    return run_recipe(recipe, run, console, signals, resumes, allowed)[1]


def run_recipe(
    recipe: Recipe,
    run: Path,
    console: Console,
    signals: Signals | None = None,
    resumes: bool = False,
    allowed: tuple[str, ...] = (),
    is_default_name: bool = False,
) -> tuple[Path, TestResults]:
    """Like `finetune`, but also returns the folder of the run.

    is_default_name: if another run has taken this folder meanwhile, choose another name. An
    exception raised during training has the folder as its attribute `run`.
    """
    started = time.perf_counter()
    signals = signals or Signals()  # that nobody sends
    check_trackers(recipe)
    join_launcher()
    check_launcher()
    with ExitStack() as held:
        origin = None
        if not is_rank_zero():
            console = Console(quiet=True)
        if resumes:
            if is_rank_zero():
                held.enter_context(run_lock(run))
            origin = find_resume_point(run, console)
            check_recipe(origin, recipe, allowed)
        before = Usage.now()
        settings = recipe.train
        accelerator = start_accelerator(
            settings.device,
            settings.mixed_precision,
            recipe.seed,
            origin.facts.arithmetic if origin else None,
        )
        theirs = overridden_precision(accelerator.mixed_precision)
        if theirs is not None:
            warning_console().print(
                f"warning: mixed_precision={theirs} of accelerate's configuration is ignored; "
                f"train.mixed_precision={recipe.train.mixed_precision} decides"
            )
        prepared = setup_training(recipe, accelerator, console)
        is_alone = accelerator.num_processes == 1
        if origin is None and is_alone and accelerator.device.type == "cpu":
            said = leave_cores(before)
            if said is not None:
                console.print(f"threads {said}")
        if origin is not None:
            check_facts(origin, facts_of(prepared.facts), allowed)
        test = prepared.tests["test"]
        if test.task.output != "text":  # a metric that cannot run fails now
            score_baselines(test, num_rows=1)
        if accelerator.is_main_process and not resumes:
            run = claim_run_dir(run) if is_default_name else run
            held.enter_context(run_lock(run))
            require_unused(run)
        (run,) = broadcast_object_list([run])
        console.print(f"run     {run}")
        try:
            require_shared(run, accelerator)
            facts = train_in_run(prepared, recipe, run, accelerator, console, signals, origin)
            return run, score_run(prepared, recipe, run, accelerator, console, facts, started)
        except BaseException as trouble:
            trouble.run = run
            raise


def train_in_run(
    prepared: TrainingSetup,
    recipe: Recipe,
    run: Path,
    accelerator: Accelerator,
    console: Console,
    signals: Signals,
    origin: ResumePoint | None,
) -> dict[str, Any]:
    """Train, keep checkpoints and the best weights; returns facts of the training."""
    started = time.perf_counter()
    model, tokenizer, schedule = prepared.model, prepared.tokenizer, prepared.schedule
    trainer = Trainer.build(model, schedule, recipe.train, accelerator)
    if origin is not None:
        restore_run(origin, trainer, tokenizer, run, recipe)
    progress = trainer.progress
    if accelerator.is_main_process:
        start_run(run, recipe, prepared.facts)
    wait_for_all(accelerator)
    start_trackers(accelerator, recipe, run, progress.step)

    def score() -> Scores:
        return prepared.evaluator.evaluate(model, prepared.validation).scores

    settings = recipe.evaluation
    validation = Validation(
        score,
        *prepared.metric,
        every=settings.every or schedule.steps_per_epoch,
        patience=settings.early_stopping_patience,
    )
    saver = RunSaver(run, tokenizer, recipe, prepared.facts)
    path = log_path(run) if accelerator.is_main_process else None
    try:
        with RunLog(
            path, schedule.num_steps, recipe.train.log_every, console, accelerator.log
        ) as log:
            log.resume_from(progress.step, progress.validation_pending)
            if origin is None:
                check_disk_space(trainer, tokenizer, run, recipe.checkpoint.keep)
            train(trainer, validation, saver, log, signals)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
    seconds = round(time.perf_counter() - started, 1)
    return {"best_step": progress.best_step, "train_seconds": seconds}


def score_run(
    prepared: TrainingSetup,
    recipe: Recipe,
    run: Path,
    accelerator: Accelerator,
    console: Console,
    facts: dict[str, Any],
    started: float,
) -> TestResults:
    """Score the best weights beside the untuned ones and the baselines, and write it all down.

    facts: of the training. started: when the run did.
    """
    tests = prepared.tests
    accelerator.free_memory()
    prepared.model.cpu()  # its place on the device is for others now

    num_rows = sum(len(each.rows) for each in tests.values())
    rows = count_of(num_rows, "test row")
    console.print(f"scoring the best weights and the untuned model on {rows}")

    evaluator = prepared.evaluator
    tuned, _ = load_model(model_dir(run))
    systems = {FINE_TUNED: evaluator.evaluate_all(tuned, tests)}
    del tuned  # one model at a time
    untuned, _ = open_model(
        recipe.model, recipe.train.forward, recipe.seed, prepared.train_rows.texts()
    )
    systems[UNTUNED] = evaluator.evaluate_all(untuned, tests)
    results = compare_on_test_sets(tests, systems, FINE_TUNED, prepared.metric)
    if accelerator.is_main_process:
        seconds = round(time.perf_counter() - started, 1)
        facts = {"seconds": seconds, **facts}
        family = family_of(unwrap_model(prepared.model).config)
        card = model_card(run.name, recipe, results["test"], family)
        write_text(model_dir(run) / "README.md", card)
        write_manifest(model_dir(run))
        write_results(run, results, prepared.train_rows, **facts)  # the run has finished
        write_report([run], report_path(run))
        terminal.show_results(console, results)
        terminal.show_examples(console, results["test"])
        terminal.show_verdict(console, results["test"])
        console.print(f"{seconds:.0f} s in all, {facts['train_seconds']:.0f} s of them training")
        console.print(f"report: {report_path(run)}")
        console.print(
            f"model: {model_dir(run)}; {terminal.generate_command(run, tests['test'].task)}"
        )
    return results["test"]
