"""Terminal output: consoles, tables and progress; silences the libraries."""

import gc
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from llmkit.runtime.ranks import is_rank_zero
from llmkit.units import show_seconds

# Whether to print no warnings, because the caller is a Python program.
_is_silent: ContextVar[bool] = ContextVar("is_silent", default=False)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SECONDS_PER_LINE = 10  # between lines of progress when the output is not a terminal


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console whose lines wrap on a terminal and stay whole in a file or a pipe."""
    return Console(
        stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True
    )


def warning_console() -> Console:
    """A console on stderr for warnings, which --quiet keeps. Only the first process prints; a
    silent call from Python prints nothing."""
    return make_console(stderr=True, quiet=_is_silent.get() or not is_rank_zero())


def without_controls(text: str) -> str:
    """A text in which control characters other than newlines and tabs, which a terminal would
    interpret, are replaced by U+FFFD."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_generated(text: str, end: str = "\n") -> None:
    """Write generated text to stdout; on a terminal, with its control characters replaced."""
    sys.stdout.write((without_controls(text) if sys.stdout.isatty() else text) + end)
    sys.stdout.flush()


@contextmanager
def python_call(verbose: bool) -> Iterator[Console]:
    """Context of a call from Python: yields its console, which is silent unless `verbose`.

    Turns off the progress bars and warnings of the libraries, and restores them at the end.
    """
    import datasets
    from huggingface_hub import utils as hub
    from transformers.utils import logging as transformers_logging

    token = _is_silent.set(not verbose)
    has_bars = (
        datasets.is_progress_bar_enabled(),
        not hub.are_progress_bars_disabled(),
        transformers_logging.is_progress_bar_enabled(),
    )
    disable = (
        datasets.disable_progress_bars,
        hub.disable_progress_bars,
        transformers_logging.disable_progress_bar,
    )
    enable = (
        datasets.enable_progress_bars,
        hub.enable_progress_bars,
        transformers_logging.enable_progress_bar,
    )
    for turn_off in disable:
        turn_off()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield make_console(quiet=not verbose)
    finally:
        _is_silent.reset(token)
        transformers_logging.set_verbosity(verbosity)
        for had, turn_on in zip(has_bars, enable, strict=True):
            if had:
                turn_on()


def show_table(console: Console, header: list[str], groups: list[list[list[str]]]) -> None:
    """Show a table: a header, and groups of lines with a rule between them.

    The first cell of a line is its label; a cell may have several lines of text. On a terminal that
    is too narrow, each cell gets a line of its own, since rich would truncate the numbers.
    """
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column(header[0])
    for name in header[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        for line in group:
            table.add_row(*line, end_section=line is group[-1])
    unbounded = console.options.update(max_width=1000)
    if console.measure(table, options=unbounded).maximum <= console.width:
        console.print(table)
        return
    for label, *cells in (line for group in groups for line in group):
        console.print(label)
        for name, cell in zip(header[1:], cells, strict=True):
            if cell:
                console.print(f"  {name} {cell.replace(chr(10), '   ')}")


@contextmanager
def counting(
    console: Console, what: str, total: int | None, first: int = 0
) -> Iterator[Callable[[int], None]]:
    """Show progress out of `total` and the time left; yields a function that adds to the count.

    A terminal shows a bar; a file, a pipe and a terminal that cannot erase text (TERM=dumb) get a
    line every SECONDS_PER_LINE.

    Args:
        total: None if it is not known.
        first: The count at the beginning.
    """
    done, started = first, time.perf_counter()
    last_line = started
    bar = Progress(
        TextColumn(what),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet or not console.is_interactive,
        transient=True,
        # The console may be stderr, while predictions are printed on stdout.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task(what, total=total, completed=first)

    def advance(count: int) -> None:
        nonlocal done, last_line
        done += count
        bar.update(task, completed=done)
        now = time.perf_counter()
        if console.is_interactive or now - last_line < SECONDS_PER_LINE:
            return
        last_line = now
        if total is None:
            console.print(f"{what}  {done:,}")
        elif first < done < total:
            left = (now - started) / (done - first) * (total - done)
            console.print(f"{what}  {done:,}/{total:,}  {show_seconds(left)} left")

    with bar:
        yield advance


@contextmanager
def library_imports() -> Iterator[None]:
    """Context for the first import of the heavy libraries in a command.

    Silences their progress bars and advice for the rest of the process. Pauses garbage collection
    during the import, which saves a fifth of its time, and then exempts the objects of the
    libraries, which are never garbage, from later collections.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault(
        "HF_UPDATE_DOWNLOAD_COUNTS", "0"
    )  # otherwise it contacts a server other than the hub
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of torch.distributed
    warnings.filterwarnings("ignore")
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    if "transformers" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
