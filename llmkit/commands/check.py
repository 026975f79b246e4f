"""The `check` command."""

import sys

import click

from llmkit.commands.loading import loading
from llmkit.commands.options import (
    json_option,
    overrides_argument,
    recipe_argument,
    scale_option,
)
from llmkit.commands.verb import NumberOption, Verb, examples


@click.command(
    cls=Verb,
    short_help="Inspect the data of a recipe.",
    epilog=examples(
        "llmkit check summarize",
        "llmkit check classify data.train=reviews.csv --rows 5",
        "llmkit check classify data.train=reviews.csv --html check.html",
    ),
)
@recipe_argument
@overrides_argument
@scale_option
@click.option("--rows", cls=NumberOption, metavar="N", type=click.IntRange(0), default=3,
              help="Training rows to show as the model sees them; default: 3.")  # fmt: skip
@click.option("--html", metavar="FILE", help="Also write the result to FILE as an HTML page.")
@json_option
def check(
    recipe: str,
    overrides: tuple[str, ...],
    scale: str | None,
    rows: int,
    html: str | None,
    as_json: bool,
) -> None:
    """Inspect the data that RECIPE would train on and report problems, without training.

    The exit code is 2 if a problem is an error, which training would refuse.
    """
    with loading():
        from llmkit.io.safe_json import to_json
        from llmkit.runs.find import open_recipe

        settings = open_recipe(recipe, scale=scale, overrides=overrides)
        from llmkit.paths import check_output
        from llmkit.reports.check import show_check, write_html
        from llmkit.runtime.console import make_console
        from llmkit.runtime.signals import Signals
        from llmkit.workflows.check import check as run_check

    page = check_output(html, "--html", ".html")
    with Signals():  # on SIGTERM too, temporary files are deleted
        result = run_check(settings, rows)
    if as_json:
        click.echo(to_json(result.to_json(), ensure_ascii=False, indent=2))
    else:
        show_check(make_console(), result)
    if page is not None:
        write_html(result, settings.task, settings.model.name, page)
    sys.exit(2 if any(finding.severity == "error" for finding in result.findings) else 0)
