"""The `compare` command."""

from dataclasses import asdict

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.loading import loading
from llmkit.commands.options import json_option
from llmkit.commands.verb import Verb, examples


@click.command(
    cls=Verb,
    short_help="Compare two systems on the same rows.",
    epilog=examples(
        "llmkit compare runs/a runs/b",
        "llmkit compare theirs.jsonl runs/b/predictions.jsonl --task qa",
    ),
)
@click.argument("first", metavar="A", shell_complete=complete_run)
@click.argument("second", metavar="B", shell_complete=complete_run)
@click.option(
    "--task",
    metavar="NAME",
    help="Task of the prediction files, needed only if they do not name it.",
)
@json_option
def compare(first: str, second: str, task: str | None, as_json: bool) -> None:
    """Compare two systems on the same rows: score differences with confidence intervals and
    p-values. A and B are runs, score folders or prediction files."""
    with loading():
        from llmkit.io.safe_json import to_json
        from llmkit.runtime.console import make_console
        from llmkit.workflows.compare import compare_systems, show_comparison

    result = compare_systems(first, second, task)
    if as_json:
        click.echo(to_json(asdict(result), indent=2))
    else:
        show_comparison(make_console(), first, second, result)
