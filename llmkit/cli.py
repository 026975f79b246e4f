"""The command line. Heavy imports stay inside the commands, so that --help answers at once."""

import json
import os
import sys
from dataclasses import asdict

import click

from llmkit import __version__
from llmkit.errors import UserError
from llmkit.signals import Signals, Stopped


class Command(click.Group):
    """Mistakes of the user's end in one line and exit code 2, without a traceback."""

    def main(self, *args, **kwargs):
        kwargs["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):  # a terminal without UTF-8 gets escapes
            stream.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(2)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "llmkit"
            _fail(f"{command}: {error.format_message()} See `{command} --help`.", 2)
        except UserError as error:
            _fail(str(error), 2)
        except Stopped as stop:
            _fail(f"{stop}{advice_of(stop)}", stop.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail("stopped by Ctrl-C", 130)
        except FloatingPointError as error:
            _fail(f"{error}{advice_of(error)}", 1)
        except BrokenPipeError:
            sys.exit(1)
        except OSError as error:
            what = error.strerror or error
            _fail(f"{error.filename or 'the system'}: {what}{advice_of(error)}", 1)
        except (MemoryError, RuntimeError) as error:
            from llmkit.launch import is_lost_connection
            from llmkit.memory import is_out_of_memory

            if is_lost_connection(error):
                _fail(f"another process of this run is gone{advice_of(error)}", 1)
            if not is_out_of_memory(error):
                raise
            _fail(f"out of memory; lower evaluation.batch_size{advice_of(error)}", 1)


def advice_of(error: BaseException) -> str:
    """How to go on behind it, where something is left of a run."""
    return getattr(error, "advice", "")


def _fail(message: str, code: int) -> None:
    for line in message.splitlines():
        click.echo(f"llmkit: {line}", err=True)
    sys.exit(code)


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llmkit")
def main() -> None:
    """Fine-tune GPT-2 and prove what came of it."""


@main.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--scale", metavar="NAME", help="sample (minutes, no network) or full.")
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
    from llmkit.recipe import describe_scales, load_recipe
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
            f"llmkit finetune {recipe} --scale full"
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


@main.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--scale", metavar="NAME", help="sample or full.")
@click.option("--rows", type=click.IntRange(0), default=3, show_default=True,
              help="First training rows to show as the model sees them.")  # fmt: skip
@click.option("--html", metavar="FILE", help="Also write the page there.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def check(
    recipe: str,
    overrides: tuple[str, ...],
    scale: str | None,
    rows: int,
    html: str | None,
    as_json: bool,
) -> None:
    """Show what RECIPE would train on, and what is odd about it, without training.

    Exit code 2 when something would make the training wrong.
    """
    from llmkit.recipe import load_recipe

    settings = load_recipe(recipe, scale=scale, overrides=overrides)
    from llmkit.console import library_imports, make_console

    with library_imports():
        from llmkit.check import check as run_check
        from llmkit.check_report import show_check, write_html
    from llmkit.files import check_output

    page = check_output(html, "--html", ".html")
    result = run_check(settings, rows)
    if as_json:
        click.echo(json.dumps(result.to_json(), ensure_ascii=False, indent=2))
    else:
        show_check(make_console(), settings, result)
    if page is not None:
        write_html(result, page)
    sys.exit(2 if any(finding.severity == "error" for finding in result.findings) else 0)


@main.command()
@click.argument("model", required=False, metavar="MODEL_OR_RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--predictions", metavar="FILE", help="Score these instead: rows of id, prediction.")
@click.option("--recipe", metavar="RECIPE", help="Name or YAML file; default: the run's own.")
@click.option("--scale", metavar="NAME", help="sample or full.")
@click.option(
    "--output", metavar="DIR", help="Also write metrics.json and predictions.jsonl there."
)
def evaluate(
    model: str | None,
    overrides: tuple[str, ...],
    predictions: str | None,
    recipe: str | None,
    scale: str | None,
    output: str | None,
) -> None:
    """Score a model, a run or anyone's predictions on the recipe's test rows, beside the
    baselines."""
    from llmkit.recipe import load_recipe
    from llmkit.run import recipe_path, resolve_model

    if predictions is not None and model is not None:
        if "=" not in model:
            raise UserError(f"give one of {model} and --predictions")
        model, overrides = None, (model, *overrides)
    if predictions is None and model is None:
        raise UserError("name a model or a run, or give --predictions FILE")
    name, run = resolve_model(model) if model else (None, None)
    if recipe is None and run is None:
        what = f"{model}: is no run, so" if model else f"{predictions}:"
        raise UserError(f"{what} name what to score it on: --recipe RECIPE")
    settings = load_recipe(recipe or str(recipe_path(run)), scale=scale, overrides=overrides)
    from llmkit.console import library_imports, make_console

    with library_imports():
        from llmkit.evaluate import evaluate_model, evaluate_predictions

    if predictions is None:
        evaluate_model(name, settings, make_console(), output)
    else:
        evaluate_predictions(predictions, settings, make_console(), output)


@main.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--task", metavar="NAME", help="What files of predictions are of.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def compare(first: str, second: str, task: str | None, as_json: bool) -> None:
    """Whether B is better than A, and how surely: runs, folders of scores or files of predictions
    for the same rows."""
    from llmkit.console import library_imports, make_console

    with library_imports():
        from llmkit.compare import compare_systems, show_comparison

    result = compare_systems(first, second, task)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=2))
    else:
        show_comparison(make_console(), first, second, result)


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN]...")
@click.option("--output", metavar="FILE", help="Default: report.html in the run, or here for more.")
@click.option("--follow", "is_followed", is_flag=True, help="Write it again while a run goes on.")
def report(runs: tuple[str, ...], output: str | None, is_followed: bool) -> None:
    """Show runs as one HTML page: scores, curves, predictions, data, settings."""
    from pathlib import Path

    from llmkit.files import check_output
    from llmkit.page import follow, open_runs, write_report
    from llmkit.run import report_path

    folders = open_runs(runs)
    usual = report_path(folders[0]) if len(folders) == 1 else Path("report.html")
    page = check_output(output, "--output", ".html") or usual
    if is_followed:
        for _ in follow(folders, page):
            click.echo(f"written: {page}")
        return
    write_report(folders, page)
    click.echo(f"written: {page}")


@main.command()
@click.option("--prompt", metavar="TEXT", help="The prompt.")
@click.option(
    "--model",
    metavar="MODEL_OR_RUN",
    help="Default: the newest finished run under runs/, else the embedded model.",
)
@click.option(
    "--input", "input_file", metavar="FILE", help="Rows with a prompt, or the task's columns, each."
)
@click.option(
    "--output", "output_file", metavar="FILE", help="Predictions as jsonl; default: print them."
)
@click.option(
    "--raw", is_flag=True, help="Pass --prompt as it is, without the run's prompt template."
)
@click.option("--max-new-tokens", type=int, help="Longest completion, in tokens.")
@click.option("--min-new-tokens", type=int, help="Shortest completion, in tokens.")
@click.option("--temperature", type=float, help="0: the likeliest token; above: sample.")
@click.option("--top-k", type=int, help="Sample among so many likeliest tokens.")
@click.option("--top-p", type=float, help="Sample among the tokens that hold this probability.")
@click.option("--num-beams", type=int, help="Beam search with so many beams.")
@click.option("--num-return-sequences", type=int, help="Completions for each prompt.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of the sampling.",
)
def generate(prompt: str | None, model: str | None, input_file: str | None, output_file: str | None,
             raw: bool, seed: int, **decoding) -> None:  # fmt: skip
    """Complete prompts with a model or a run."""
    if (prompt is None) == (input_file is None):
        raise UserError("give one of --prompt TEXT and --input FILE")
    from llmkit.console import library_imports, make_console

    with library_imports():
        from llmkit.complete import check_input, complete_file, complete_prompt, open_completer
    from llmkit.files import check_output

    rows = None if input_file is None else check_input(input_file)
    output = check_output(output_file)
    completer = open_completer(model, decoding, seed, make_console(stderr=True))
    if prompt is not None:
        complete_prompt(completer, prompt, raw, output)
    else:
        complete_file(completer, rows, output)


@main.command()
@click.option("--fields", is_flag=True, help="List every key of a recipe with its meaning.")
def recipes(fields: bool) -> None:
    """List the recipes, or every key that one can hold."""
    from llmkit import recipe
    from llmkit.schema import iter_fields

    if fields:
        for key, _, default, text in iter_fields():
            click.echo(f"{key} = {default}\n    {text}")
        return
    for path in recipe.list_recipes():
        scales = " | ".join(recipe.describe_scales(str(path)))
        click.echo(f"{path.stem:<12}{recipe.first_comment(path)}  [{scales}]")
