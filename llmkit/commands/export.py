"""The `export` command."""

import sys
from dataclasses import asdict

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.limits import FAILED
from llmkit.commands.loading import loading
from llmkit.commands.options import (
    TEST_ROWS_KEYS,
    check_keys,
    json_option,
    overrides_argument,
    quiet_option,
)
from llmkit.commands.verb import Verb, examples


@click.command(
    cls=Verb,
    short_help="Write a run's model for other programs, and check it.",
    epilog=examples(
        "llmkit export runs/a --to gguf",
        "llmkit export runs/a --to gguf:q8_0 --to gguf:q4_0 --to ctranslate2:int8",
        "llmkit export runs/a --to safetensors:bf16 --output models",
        "llmkit export runs/a --to gguf evaluation.test_rows=50",
    ),
)
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@overrides_argument
@click.option(
    "--to",
    "targets",
    metavar="FORMAT[:PRECISION]",
    multiple=True,
    required=True,
    help="safetensors (float32, bf16, fp16), adapter, gguf (f16, f32, q8_0, q4_0), onnx or "
    "ctranslate2 (float32, int8); default precision: the first. Repeatable.",
)
@click.option(
    "--output",
    metavar="DIR",
    help="Write each export to a folder FORMAT-PRECISION in DIR; default: RUN/exports.",
)
@click.option("--force", "is_forced", is_flag=True, help="Replace existing exports.")
@quiet_option
@json_option
def export(
    run: str,
    overrides: tuple[str, ...],
    targets: tuple[str, ...],
    output: str | None,
    is_forced: bool,
    is_quiet: bool,
    as_json: bool,
) -> None:
    """Write the model of a finished run for other programs.

    Each export is opened in the program that runs it, in a new process, and scored on the run's
    test rows. An export that is a different model is refused and removed (exit code 1).
    """
    check_keys(overrides, TEST_ROWS_KEYS)
    with loading(is_quiet=is_quiet):
        from llmkit.export.formats import Target
        from llmkit.io.safe_json import to_json
        from llmkit.runtime.console import make_console
        from llmkit.runtime.signals import Signals
        from llmkit.workflows.export import export_run

    parsed = list(dict.fromkeys(map(Target.parse, targets)))
    console = make_console(stderr=as_json, quiet=is_quiet)
    with Signals():  # on SIGTERM too, the incomplete export is deleted
        exports = export_run(run, parsed, overrides, console, output=output, is_forced=is_forced)
    for each in exports:
        for reason in each.reasons:
            click.echo(f"llmkit: --to {each.target}: refused and removed: {reason}", err=True)
        if not each.reasons:
            console.print(f"{each.target}: {each.folder}")
    if as_json:
        content = [
            {
                "folder": None if each.reasons else str(each.folder),
                "reasons": each.reasons,
                **({} if each.record is None else asdict(each.record)),
            }
            for each in exports
        ]
        click.echo(to_json({"exports": content}, indent=2))
    if any(each.reasons for each in exports):
        sys.exit(FAILED)
