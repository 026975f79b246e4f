"""The report page: runs, finished or not, as one self-contained HTML file."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from llmkit.errors import UserError
from llmkit.io.atomic import write_text
from llmkit.io.safe_json import to_json
from llmkit.paths import expand
from llmkit.reports.html_data import page_data
from llmkit.runs.folder import (
    is_run,
    log_path,
    predictions_path,
    record_path,
    results_path,
    samples_path,
)
from llmkit.scoring.significance import CONFIDENCE_LEVEL, MIN_ROWS

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("charts.js", "predictions.js", "report.js")
FOLLOW_SECONDS = 2.0  # seconds between two checks of a run that is followed


def open_runs(names: tuple[str, ...]) -> list[Path]:
    """The folders of the named runs. Raises UserError for a path that is not a run."""
    runs = [expand(name) for name in names]
    for run in runs:
        if not is_run(run):
            raise UserError(f"{run}: not a run; name the folder that `llmkit finetune` made")
    return runs


def write_report(runs: list[Path], output: Path, *, reloads: bool = False) -> None:
    """Write a page about the runs. reloads: Whether it reloads itself every FOLLOW_SECONDS."""
    write_text(output, report_page(runs, reloads=reloads))


def follow(runs: list[Path], output: Path) -> Iterator[None]:
    """Rewrite the page whenever a run has changed, until all have finished; yields after each
    rewrite.

    The page reloads itself until then, or until the caller stops.
    """
    seen, have_finished = None, False
    try:
        while True:
            have_finished = all(results_path(run).is_file() for run in runs)
            state = [(path, path.stat().st_mtime_ns) for run in runs for path in sources(run)]
            if state != seen:
                seen = state
                write_report(runs, output, reloads=not have_finished)
                yield
            if have_finished:
                return
            time.sleep(FOLLOW_SECONDS)
    finally:
        if not have_finished:
            write_report(runs, output)


def sources(run: Path) -> list[Path]:
    """The existing files of a run that the page is made from."""
    paths = (log_path, samples_path, results_path, predictions_path, record_path)
    return [path for path in (path_of(run) for path_of in paths) if path.is_file()]


def report_page(runs: list[Path], *, reloads: bool = False) -> str:
    """The page as HTML, with its style, scripts and data."""
    content = {
        "level": f"{CONFIDENCE_LEVEL:.0%}",
        "min_rows": MIN_ROWS,
        "reload_seconds": FOLLOW_SECONDS if reloads else None,
        **page_data(runs),
    }
    data = to_json(content, default=str)  # in ASCII, since a text may hold a lone surrogate
    # No text may end the script element that holds the data.
    return fill("report.html", js="".join(map(asset, SCRIPTS)), data=data.replace("<", "\\u003c"))


def fill(template: str, **parts: str) -> str:
    """Fill a page template with the shared style and the given parts."""
    parts["css"] = asset("page.css")
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], asset(template))


def asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
