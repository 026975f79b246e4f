"""A progress message while a command imports PyTorch and transformers."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from llmkit.runtime.ranks import is_rank_zero

ERASE_LINE = "\r\x1b[2K"
LOADING = "llmkit: loading PyTorch and transformers ..."


@contextmanager
def loading(message: str = LOADING, *, is_quiet: bool = False) -> Iterator[None]:
    """Announce on stderr, before anything is imported, what the block does; enter
    `library_imports`.

    Imports take 5 to 25 s on a slow machine. A terminal shows the message until the block ends;
    a file or a pipe gets a line. Ctrl-C ends the process immediately: an exception could be
    swallowed by the library that is being imported, and nothing is half done yet.
    """
    speaks = is_rank_zero() and not is_quiet
    if "transformers" in sys.modules:  # nothing is left to load
        yield
        return
    is_terminal = sys.stderr.isatty()
    clear = ERASE_LINE if is_terminal and speaks else ""

    def stop(number: int, _: object) -> None:
        text = f"{clear}llmkit: stopped by Ctrl-C\n" if is_rank_zero() else ""
        os.write(2, text.encode())
        os._exit(128 + number)

    previous = signal.signal(signal.SIGINT, stop)
    try:
        if speaks:
            print(message, end="" if is_terminal else "\n", file=sys.stderr, flush=True)
        from llmkit.runtime.console import library_imports

        with library_imports():
            yield
    finally:
        signal.signal(signal.SIGINT, previous)
        print(clear, end="", file=sys.stderr, flush=True)
