"""The `finetune` command."""

import json
import shlex
import sys

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
from llmkit.runtime.signals import Signals, Stopped


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
    "allowed",
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
    allowed: tuple[str, ...],
    limits: list[Limit],
    is_quiet: bool,
    as_json: bool,
) -> None:
    """Fine-tune a model with RECIPE (a name or a YAML file), and score it before and after.

    KEY=VALUE overrides any key of the recipe: train.learning_rate=2e-5 data.train=rows.jsonl
    """
    from llmkit.runtime.ranks import check_launcher, is_rank_zero, join_launcher, num_processes

    join_launcher()
    check_launcher(asked_processes)
    starting = f"llmkit: starting {asked_processes} processes ..."
    with loading(LOADING if asked_processes == 1 else starting, is_quiet=is_quiet):
        from llmkit.config.recipe_files import describe_scales
        from llmkit.io.safe_json import to_json
        from llmkit.runs.folder import (
            choose_run_dir,
            find_run_to_resume,
            open_recipe,
            results_path,
            resume_hint,
        )
        from llmkit.runtime.launch import end_with_launcher, launch

        settings = open_recipe(recipe, scale=scale, overrides=overrides)
        found = find_run_to_resume(resume, run_dir, settings) if resume else None
        run = found or choose_run_dir(run_dir, recipe, starts_over=resume == "auto")
        from llmkit.data.recipe_task import recipe_task

        task = recipe_task(settings)
        check_limits(limits, task)
        if asked_processes == 1:
            from llmkit.runtime.console import make_console
            from llmkit.workflows.finetune import finetune as run_recipe
    if asked_processes > 1:
        options = ["--scale", scale] if scale else []
        options += ["--resume", str(found)] if found else []
        options += ["--resume", resume] if resume and not found else []
        options += ["--run-dir", run_dir] if run_dir and not found else []
        options += [part for key in allowed for part in ("--allow-change", key)]
        options += [part for limit in limits for part in ("--fail-under", str(limit))]
        options += ["--quiet"] * is_quiet + ["--json"] * as_json
        sys.exit(launch(["finetune", recipe, *overrides, *options], asked_processes))
    is_ours = end_with_launcher()
    console = make_console(stderr=as_json, quiet=is_quiet)
    with Signals() as signals:
        try:
            if resume and not found:
                console.print("resume  no stopped run of this recipe; starting a new one")
            run, _ = run_recipe(
                settings,
                run,
                console,
                signals,
                resume=found is not None,
                allowed_changes=allowed,
                is_default_name=run_dir is None,
            )
        except (Stopped, OSError, FloatingPointError, MemoryError, RuntimeError) as trouble:
            run = getattr(trouble, "run", run)
            if isinstance(trouble, OSError):
                trouble.filename = trouble.filename or str(run)
            if found or run_dir or is_rank_zero():  # otherwise another process owns it
                options = options_to_go_on(trouble, allowed, num_processes() if is_ours else 1)
                trouble.advice = resume_hint(run, options, num_processes() > 1 and not is_ours)
            raise
    if not is_rank_zero():
        return
    results = json.loads(results_path(run).read_text("utf-8"))
    if as_json:
        click.echo(to_json({"run": str(run), **results}, indent=2))
    scales = describe_scales(recipe)
    if "full" in scales and (scale or scales[0]) == "sample":
        console.print(
            "full scale, with gpt2 and a standard data set from the hub: "
            f"llmkit finetune {shlex.quote(recipe)} --scale full"
        )
    fail_if_missed(limits, results["scores"][results["main"]], task)


def options_to_go_on(
    trouble: BaseException, allowed: tuple[str, ...], num_processes: int
) -> list[str]:
    """Options for `llmkit finetune RECIPE --resume RUN` that avoid the trouble.

    num_processes: number of processes that --num-processes started.
    """
    from llmkit.runtime.failures import is_lost_connection

    options = ["--num-processes", str(num_processes)] if num_processes > 1 else []
    if isinstance(trouble, FloatingPointError):
        allowed = ("train.learning_rate", *allowed)
        options = ["train.learning_rate=LOWER", *options]
    elif isinstance(trouble, MemoryError | RuntimeError) and not is_lost_connection(trouble):
        allowed = ("evaluation.batch_size", *allowed)
        options = ["evaluation.batch_size=FEWER", *options]
    return [*options, *(part for key in allowed for part in ("--allow-change", key))]
