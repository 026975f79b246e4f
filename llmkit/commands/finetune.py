"""The `finetune` command."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.limits import Limit, check_limits, fail_if_missed, fail_under_option
from llmkit.commands.loading import LOADING, loading
from llmkit.commands.options import (
    json_option,
    overrides_argument,
    quiet_option,
    recipe_argument,
    scale_option,
)
from llmkit.commands.verb import NumberOption, Verb, examples
from llmkit.errors import OutOfMemory
from llmkit.runtime.signals import Signals, Stopped

if TYPE_CHECKING:
    from rich.console import Console

    from llmkit.config.schema import Recipe


@click.command(
    cls=Verb,
    short_help="Fine-tune a model, and score it.",
    epilog=examples(
        "llmkit finetune summarize",
        "llmkit finetune classify data.train=reviews.csv train.epochs=2",
        "llmkit finetune mine.yaml --resume runs/mine-20260101-120000",
        "llmkit finetune qa --quiet --json --fail-under f1=60",
    ),
)
@recipe_argument
@overrides_argument
@scale_option
@click.option("--run-dir", metavar="DIR", help="Folder of the run; default: a new folder in runs/.")
@click.option(
    "--num-processes",
    "asked_processes",
    cls=NumberOption,
    metavar="N",
    type=click.IntRange(1),
    default=1,
    help="Number of processes on this machine, one per device; default: 1.",
)
@click.option(
    "--resume",
    metavar="RUN|auto",
    help="Resume a stopped run; auto: the newest one of this recipe, or start a new run.",
    shell_complete=complete_run,
)
@click.option(
    "--allow-change",
    "allowed_changes",
    metavar="KEY",
    multiple=True,
    help="With --resume, allow KEY to differ from the run's recipe. Repeatable.",
)
@fail_under_option
@quiet_option
@json_option
def finetune(
    recipe: str,
    overrides: tuple[str, ...],
    scale: str | None,
    run_dir: str | None,
    asked_processes: int,
    resume: str | None,
    allowed_changes: tuple[str, ...],
    limits: list[Limit],
    is_quiet: bool,
    as_json: bool,
) -> None:
    """Fine-tune a model with RECIPE (a name or a YAML file), and score it before and after.

    KEY=VALUE overrides any key of the recipe: train.learning_rate=2e-5 data.train=rows.jsonl
    """
    from llmkit.runtime.ranks import check_launcher, is_rank_zero, join_launcher, resume_option

    join_launcher()
    check_launcher(asked_processes)
    resume = resume_option(resume, run_dir)
    starting = f"llmkit: starting {asked_processes} processes ..."
    with loading(LOADING if asked_processes == 1 else starting, is_quiet=is_quiet):
        settings, found, run = _choose_run(recipe, overrides, scale, run_dir, resume, limits)
        if asked_processes == 1:
            from llmkit.runtime.console import make_console
            from llmkit.workflows.finetune import finetune as finetune_run
    if asked_processes > 1:
        options = _run_options(found, resume, run_dir, allowed_changes)
        options += _output_options(scale, limits, is_quiet=is_quiet, as_json=as_json)
        _start_processes(["finetune", recipe, *overrides, *options], asked_processes)
    console = make_console(stderr=as_json, quiet=is_quiet)
    if resume and not found and is_rank_zero():
        console.print("resume  no stopped run of this recipe; starting a new one")
    has_own_name = found is not None or run_dir is not None
    with Signals() as signals, _resume_hint(run, allowed_changes, has_own_name):
        run, _ = finetune_run(
            settings,
            run,
            console,
            signals,
            resume=found is not None,
            allowed_changes=allowed_changes,
            is_default_name=run_dir is None,
        )
    if is_rank_zero():
        from llmkit.data.recipe_task import recipe_task

        scores = _show_results(run, as_json)
        _suggest_next_run(recipe, scale, settings, console)
        fail_if_missed(limits, scores, recipe_task(settings))


def _choose_run(
    recipe: str,
    overrides: tuple[str, ...],
    scale: str | None,
    run_dir: str | None,
    resume: str | None,
    limits: list[Limit],
) -> tuple["Recipe", Path | None, Path]:
    """The recipe, the run to resume, if there is one, and the folder: the same in all processes."""
    from llmkit.config.recipe import recipe_keys
    from llmkit.config.schema import Recipe
    from llmkit.data.recipe_task import recipe_task
    from llmkit.runs.find import choose_run_dir, find_run_to_resume, open_recipe
    from llmkit.runtime.rendezvous import from_first_process

    def choose() -> tuple[Recipe, Path | None, Path]:
        settings = open_recipe(recipe, scale=scale, overrides=overrides)
        check_limits(limits, recipe_task(settings))
        found = find_run_to_resume(resume, run_dir, recipe_keys(settings)) if resume else None
        run = found or choose_run_dir(run_dir, recipe, starts_over=resume == "auto")
        return settings, found, run

    return from_first_process(choose, tuple[Recipe, Path | None, Path])


def _run_options(
    found: Path | None, resume: str | None, run_dir: str | None, allowed_changes: tuple[str, ...]
) -> list[str]:
    """The options with which each of several processes finds the same run."""
    options = [part for key in allowed_changes for part in ("--allow-change", key)]
    if found:
        return ["--resume", str(found), *options]
    options += ["--resume", resume] if resume else []
    return [*options, *(["--run-dir", run_dir] if run_dir else [])]


def _output_options(
    scale: str | None, limits: list[Limit], *, is_quiet: bool, as_json: bool
) -> list[str]:
    """The options of scale, limits and output, as several processes are started with."""
    options = ["--scale", scale] if scale else []
    options += [part for limit in limits for part in ("--fail-under", str(limit))]
    return options + ["--quiet"] * is_quiet + ["--json"] * as_json


def _start_processes(arguments: list[str], num_processes: int) -> NoReturn:
    from llmkit.runtime.launch import launch

    sys.exit(launch(arguments, num_processes))


@contextmanager
def _resume_hint(run: Path, allowed_changes: tuple[str, ...], has_own_name: bool) -> Iterator[None]:
    """Attach to a failure or a stop request how the run is resumed.

    has_own_name: Whether the user named the folder. Otherwise only the first process knows it.
    """
    from llmkit.runs.find import resume_hint
    from llmkit.runs.folder import is_run
    from llmkit.runtime.launch import end_with_launcher
    from llmkit.runtime.ranks import is_rank_zero, num_processes

    is_launched_by_llmkit = end_with_launcher()
    try:
        yield
    except (Stopped, OSError, FloatingPointError, MemoryError, RuntimeError) as error:
        run = getattr(error, "run", run)
        if isinstance(error, OSError):
            error.filename = error.filename or str(run)
        if is_rank_zero() or (has_own_name and is_run(run)):  # others may not see the folder
            own_processes = num_processes() if is_launched_by_llmkit else 1
            options = resume_options(error, allowed_changes, own_processes)
            has_launcher = num_processes() > 1 and not is_launched_by_llmkit
            error.advice = resume_hint(run, options, has_launcher)
        raise


def _show_results(run: Path, as_json: bool) -> dict[str, float]:
    """Print metrics.json if asked to; returns the scores of the fine-tuned model."""
    from llmkit.io.safe_json import to_json
    from llmkit.scoring.results import read_results

    results = read_results(run)
    if as_json:
        click.echo(to_json({"run": str(run), **results.as_dict()}, indent=2))
    return results.scores[results.main]


def _suggest_next_run(
    recipe: str, scale: str | None, settings: "Recipe", console: "Console"
) -> None:
    """Suggest gpt2 for the user's rows, or the full scale after the sample scale."""
    from llmkit.config.recipe_files import describe_scales

    if settings.model.name == "embedded" and not settings.data.is_embedded:
        console.print(
            "the embedded model knows only an invented world; for real text, add model=gpt2"
        )
        return
    scales = describe_scales(recipe)
    if "full" in scales and (scale or scales[0]) == "sample":
        console.print(
            "full scale, with gpt2 and a standard data set from the hub: "
            f"llmkit finetune {shlex.quote(recipe)} --scale full"
        )


def resume_options(
    error: BaseException, allowed_changes: tuple[str, ...], num_processes: int
) -> list[str]:
    """Options for `llmkit finetune RECIPE --resume RUN` that avoid the same failure.

    num_processes: Number of processes that --num-processes started.
    """
    from llmkit.runtime.failures import is_lost_connection

    options = ["--num-processes", str(num_processes)] if num_processes > 1 else []
    changes: dict[str, str] = {}
    if isinstance(error, FloatingPointError):
        changes = {"train.learning_rate": "LOWER"}
    elif isinstance(error, OutOfMemory):
        changes = error.changes
    elif isinstance(error, MemoryError | RuntimeError) and not is_lost_connection(error):
        changes = {"evaluation.batch_size": "FEWER"}
    allowed_changes = (*changes, *allowed_changes)
    options = [*(f"{key}={value}" for key, value in changes.items()), *options]
    return [*options, *(part for key in allowed_changes for part in ("--allow-change", key))]
