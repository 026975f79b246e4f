"""The `check` command."""

import sys

import click

from llmkit.commands.options import (
    json_option,
    overrides_argument,
    recipe_argument,
    scale_option,
)


@click.command()
@recipe_argument
@overrides_argument
@scale_option
@click.option("--rows", type=click.IntRange(0), default=3, show_default=True,
              help="First training rows to show as the model sees them.")  # fmt: skip
@click.option("--html", metavar="FILE", help="Also write the page there.")
@json_option
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
    from llmkit.run import to_json

    with library_imports():
        from llmkit.check import check as run_check
        from llmkit.check_report import show_check, write_html
    from llmkit.files import check_output

    page = check_output(html, "--html", ".html")
    result = run_check(settings, rows)
    if as_json:
        click.echo(to_json(result.to_json(), ensure_ascii=False, indent=2))
    else:
        show_check(make_console(), settings, result)
    if page is not None:
        write_html(result, page)
    sys.exit(2 if any(finding.severity == "error" for finding in result.findings) else 0)
