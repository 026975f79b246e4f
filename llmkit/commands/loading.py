"""A progress message while a command imports PyTorch and transformers."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from llmkit.runtime.ranks import is_rank_zero

ERASE_LINE = "\r\x1b[2K"
DUMB_TERMINALS = ("dumb", "unknown")  # as in rich
LOADING = "llmkit: loading PyTorch and transformers ..."


@contextmanager
def loading(message: str = LOADING, *, is_quiet: bool = False) -> Iterator[None]:
    """Announce on stderr, before anything is imported, what the block does; enter
    `library_imports`.

    Imports take 5 to 25 s on a slow machine. A terminal shows the message until the block ends;
    a file, a pipe or a terminal that cannot erase text gets a line. Ctrl-C ends the process
    immediately: an exception could be swallowed by the library that is being imported, and nothing
    is half done yet.
    """
    speaks = is_rank_zero() and not is_quiet
    if "transformers" in sys.modules:  # nothing is left to load
        yield
        return
    can_erase = sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in DUMB_TERMINALS
    clear = ERASE_LINE if can_erase and speaks else ""

    def stop(number: int, _: object) -> None:
        text = f"{clear}llmkit: stopped by Ctrl-C\n" if is_rank_zero() else ""
        os.write(2, text.encode())
        os._exit(128 + number)

    previous = signal.signal(signal.SIGINT, stop)
    try:
        if speaks:
            print(message, end="" if can_erase else "\n", file=sys.stderr, flush=True)
        from llmkit.runtime.console import library_imports

        with library_imports():
            yield
    finally:
        signal.signal(signal.SIGINT, previous)
        print(clear, end="", file=sys.stderr, flush=True)
