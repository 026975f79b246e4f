"""The `quantize` command."""

from dataclasses import asdict

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.loading import loading
from llmkit.commands.options import (
    TEST_ROWS_KEYS,
    check_keys,
    json_option,
    overrides_argument,
    quiet_option,
)
from llmkit.commands.verb import Verb, examples

READ_KEYS = (*TEST_ROWS_KEYS, "train.mixed_precision")


@click.command(
    cls=Verb,
    short_help="Quantize a run's model to int8 weights.",
    epilog=examples(
        "llmkit quantize runs/a",
        "llmkit quantize runs/a evaluation.test_rows=50",
        "llmkit generate --model runs/a/int8 --input new.csv",
    ),
)
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@overrides_argument
@click.option("--force", "is_forced", is_flag=True, help="Replace existing int8 weights.")
@quiet_option
@json_option
def quantize(
    run: str, overrides: tuple[str, ...], is_forced: bool, is_quiet: bool, as_json: bool
) -> None:
    """Quantize the model of a finished run to int8 weights for CPUs, and write it to RUN/int8.

    Shows size, score and speed before and after. generate, evaluate, chat and serve open RUN/int8
    like the run.
    """
    check_keys(overrides, READ_KEYS)
    with loading(is_quiet=is_quiet):
        from llmkit.io.safe_json import to_json
        from llmkit.runtime.console import make_console
        from llmkit.runtime.signals import Signals
        from llmkit.workflows.quantize import quantize_run, show_quantized

    console = make_console(stderr=as_json, quiet=is_quiet)
    with Signals():  # on SIGTERM too, the incomplete folder is deleted
        quantized = quantize_run(run, overrides, console, is_forced=is_forced)
    show_quantized(console, quantized)
    if as_json:
        click.echo(to_json({**asdict(quantized), "folder": str(quantized.folder)}, indent=2))
