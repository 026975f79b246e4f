"""The `finetune` command."""

import shlex
import sys

import click

from llmkit.commands.options import overrides_argument, recipe_argument, scale_option
from llmkit.commands.verb import Verb
from llmkit.signals import Signals, Stopped


@click.command(cls=Verb)
@recipe_argument
@overrides_argument
@scale_option
@click.option("--run-dir", metavar="DIR", help="Folder of the run; default: a new one under runs/.")
@click.option(
    "--num-processes",
    "asked_processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes on this machine, one a device.",
)
@click.option(
    "--resume",
    metavar="RUN|auto",
    help="Go on with a stopped run; auto: the newest of this recipe, if any.",
)
@click.option("--allow-change", "allowed", metavar="KEY", multiple=True,
              help="With --resume: this key, or data.test, may differ from the run's.")  # fmt: skip
def finetune(
    recipe: str,
    overrides: tuple[str, ...],
    scale: str | None,
    run_dir: str | None,
    asked_processes: int,
    resume: str | None,
    allowed: tuple[str, ...],
) -> None:
    """Fine-tune by RECIPE, a name or a YAML file; score before and after.

    KEY=VALUE sets any key of the recipe: train.learning_rate=2e-5 data.train=rows.jsonl
    """
    from llmkit.launch import end_with_launcher, launch
    from llmkit.ranks import check_launcher, is_first, join_launcher, num_processes
    from llmkit.recipe import load_recipe
    from llmkit.recipe_files import describe_scales
    from llmkit.run import choose_run_dir, find_run_to_resume, how_to_go_on

    join_launcher()
    check_launcher(asked_processes)
    settings = load_recipe(recipe, scale=scale, overrides=overrides)
    found = find_run_to_resume(resume, run_dir, settings) if resume else None
    run = found or choose_run_dir(run_dir, recipe, starts_over=resume == "auto")
    if asked_processes > 1:
        options = ["--scale", scale] if scale else []
        options += ["--resume", str(found)] if found else ["--run-dir", str(run)]
        options += ["--resume", "auto"] if resume and not found else []
        options += [part for key in allowed for part in ("--allow-change", key)]
        sys.exit(launch(["finetune", recipe, *overrides, *options], asked_processes))
    from llmkit.console import library_imports, make_console

    is_ours = end_with_launcher()
    with Signals() as signals:
        try:
            with library_imports():
                from llmkit.finetune import finetune as run_finetune
            console = make_console()
            if resume and not found:
                console.print(f"resume  no stopped run of this recipe: a new one, {run}")
            run_finetune(settings, run, console, signals, found is not None, allowed)
        except (Stopped, OSError, FloatingPointError, MemoryError, RuntimeError) as trouble:
            if isinstance(trouble, OSError):
                trouble.filename = trouble.filename or str(run)
            if found or run_dir or is_first():  # else it is another's
                options = options_to_go_on(trouble, allowed, num_processes() if is_ours else 1)
                trouble.advice = how_to_go_on(run, options, num_processes() > 1 and not is_ours)
            raise
    scales = describe_scales(recipe)
    is_sample = "full" in scales and (scale or scales[0]) == "sample"
    if is_sample and is_first():
        console.print(
            "full scale, with gpt2 and a standard data set from the hub: "
            f"llmkit finetune {shlex.quote(recipe)} --scale full"
        )


def options_to_go_on(
    trouble: BaseException, allowed: tuple[str, ...], num_processes: int
) -> list[str]:
    """Options for `llmkit finetune RECIPE --resume RUN` that avoid the trouble.

    num_processes: those that --num-processes started.
    """
    from llmkit.launch import is_lost_connection

    options = ["--num-processes", str(num_processes)] if num_processes > 1 else []
    if isinstance(trouble, FloatingPointError):
        allowed = ("train.learning_rate", *allowed)
        options = ["train.learning_rate=LOWER", *options]
    elif isinstance(trouble, MemoryError | RuntimeError) and not is_lost_connection(trouble):
        allowed = ("evaluation.batch_size", *allowed)
        options = ["evaluation.batch_size=FEWER", *options]
    return [*options, *(part for key in allowed for part in ("--allow-change", key))]
