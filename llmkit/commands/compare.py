"""The `compare` command."""

from dataclasses import asdict

import click

from llmkit.commands.options import json_option


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--task", metavar="NAME", help="What files of predictions are of.")
@json_option
def compare(first: str, second: str, task: str | None, as_json: bool) -> None:
    """Whether B is better than A, and how surely: runs, folders of scores or files of predictions
    for the same rows."""
    from llmkit.console import library_imports, make_console
    from llmkit.run import to_json

    with library_imports():
        from llmkit.compare import compare_systems, show_comparison

    result = compare_systems(first, second, task)
    if as_json:
        click.echo(to_json(asdict(result), indent=2))
    else:
        show_comparison(make_console(), first, second, result)
