"""The `report` command: runs, finished or not, as one page that needs nothing else."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from llmkit.errors import UserError
from llmkit.io.atomic import write_text
from llmkit.io.safe_json import to_json
from llmkit.paths import expand
from llmkit.reports.html_data import page_data
from llmkit.runs.folder import is_run, log_path, predictions_path, record_path, results_path
from llmkit.scoring.significance import CONFIDENCE_LEVEL, MIN_ROWS

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("charts.js", "predictions.js", "report.js")
FOLLOW_SECONDS = 2.0  # seconds between two looks at a run that is followed


def open_runs(names: tuple[str, ...]) -> list[Path]:
    """The folders of these runs; UserError for what is none."""
    runs = [expand(name) for name in names]
    for run in runs:
        if not is_run(run):
            raise UserError(f"{run}: not a run; name the folder that `llmkit finetune` made")
    return runs


def write_report(runs: list[Path], output: Path, *, reloads: bool = False) -> None:
    """Write one page about these runs. reloads: whether it reloads itself every few seconds."""
    write_text(output, report_page(runs, reloads=reloads))


def follow(runs: list[Path], output: Path) -> Iterator[None]:
    """Write the page again whenever a run has something new, until all have finished.

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
    """What the page is made of, as far as it is there."""
    paths = (log_path(run), results_path(run), predictions_path(run), record_path(run))
    return [path for path in paths if path.is_file()]


def report_page(runs: list[Path], *, reloads: bool = False) -> str:
    """The page as HTML, style, program and data in it."""
    content = {
        "level": f"{CONFIDENCE_LEVEL:.0%}",
        "min_rows": MIN_ROWS,
        "reload_seconds": FOLLOW_SECONDS if reloads else None,
        **page_data(runs),
    }
    data = to_json(content, default=str)  # ASCII: a text may hold half a character
    # Nothing in a text may end the element that the data stands in.
    return fill("report.html", js="".join(map(asset, SCRIPTS)), data=data.replace("<", "\\u003c"))


def fill(template: str, **parts: str) -> str:
    """Fill a page template with the style that all pages share and with these parts."""
    parts["css"] = asset("page.css")
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], asset(template))


def asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
