"""The `report` command."""

import click


@click.command()
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
