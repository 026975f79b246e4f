"""The `report` command."""

from pathlib import Path

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.loading import loading
from llmkit.commands.verb import Verb, examples


@click.command(
    cls=Verb,
    short_help="Write an HTML report of runs.",
    epilog=examples("llmkit report runs/a", "llmkit report runs/a runs/b --output both.html"),
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_run)
@click.option(
    "--output",
    metavar="FILE",
    help="File to write; default: report.html in the run, or in the working directory for "
    "several runs.",
)
@click.option(
    "--follow",
    "is_followed",
    is_flag=True,
    help="Keep the report up to date while a run is training.",
)
def report(runs: tuple[str, ...], output: str | None, is_followed: bool) -> None:
    """Write an HTML report of runs: scores, curves, predictions, data and settings."""
    with loading("llmkit: reading the runs ..."):
        from llmkit.paths import check_output
        from llmkit.reports.html import follow, open_runs, write_report
        from llmkit.runs.folder import report_path

    folders = open_runs(runs)
    usual = report_path(folders[0]) if len(folders) == 1 else Path("report.html")
    page = check_output(output, "--output", ".html") or usual
    if is_followed:
        for number, _ in enumerate(follow(folders, page)):
            if number == 0:
                click.echo(f"written: {page}; it is updated until the training ends or Ctrl-C")
        return
    write_report(folders, page)
    click.echo(f"written: {page}")
