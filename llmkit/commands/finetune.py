"""The `finetune` command."""

import os
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
@click.option("--num-processes", type=click.IntRange(1), default=1, show_default=True,
              help="Processes on this machine, one a device.")  # fmt: skip
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
    num_processes: int,
    resume: str | None,
    allowed: tuple[str, ...],
) -> None:
    """Fine-tune by RECIPE, a name or a YAML file; score before and after.

    KEY=VALUE sets any key of the recipe: train.learning_rate=2e-5 data.train=rows.jsonl
    """
    from llmkit.launch import end_with_launcher, launch
    from llmkit.recipe import load_recipe
    from llmkit.recipe_files import describe_scales
    from llmkit.run import choose_run_dir, find_run_to_resume, how_to_go_on

    settings = load_recipe(recipe, scale=scale, overrides=overrides)
    found = find_run_to_resume(resume, run_dir, settings) if resume else None
    run = found or choose_run_dir(run_dir, recipe, starts_over=resume == "auto")
    if num_processes > 1:
        options = ["--scale", scale] if scale else []
        options += ["--resume", str(found)] if found else ["--run-dir", str(run)]
        options += ["--resume", "auto"] if resume and not found else []
        options += [part for key in allowed for part in ("--allow-change", key)]
        sys.exit(launch(["finetune", recipe, *overrides, *options], num_processes))
    from llmkit.console import library_imports, make_console

    end_with_launcher()
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
            if found or run_dir or os.environ.get("RANK", "0") == "0":  # else it is another's
                trouble.advice = how_to_go_on(run, options_to_go_on(trouble, allowed))
            raise
    scales = describe_scales(recipe)
    is_sample = "full" in scales and (scale or scales[0]) == "sample"
    if is_sample and os.environ.get("RANK", "0") == "0":
        console.print(
            "full scale, with gpt2 and a standard data set from the hub: "
            f"llmkit finetune {shlex.quote(recipe)} --scale full"
        )


def options_to_go_on(trouble: BaseException, allowed: tuple[str, ...]) -> list[str]:
    """Of `llmkit finetune RECIPE --resume RUN`, so that it goes otherwise now."""
    num_processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    options = ["--num-processes", str(num_processes)] if num_processes > 1 else []
    if isinstance(trouble, FloatingPointError):
        allowed = ("train.learning_rate", *allowed)
        options = ["train.learning_rate=LOWER", *options]
    elif isinstance(trouble, MemoryError | RuntimeError) and num_processes == 1:
        allowed = ("evaluation.batch_size", *allowed)
        options = ["evaluation.batch_size=FEWER", *options]
    return [*options, *(part for key in allowed for part in ("--allow-change", key))]
