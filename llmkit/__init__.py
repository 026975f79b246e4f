"""llmkit: fine-tune GPT-2 and prove what came of it."""

import os
from collections.abc import MutableMapping

__version__ = "0.1.0"


def bound_spinning(environment: MutableMapping[str, str]) -> None:
    """Have OpenMP's idle threads sleep soon, unless the user has set how they wait.

    By default they spin for milliseconds after each parallel region. Where another program wants
    their core, that takes away the time of the very thread that they wait for: training beside one
    busy program slows down more than tenfold. The libraries read this when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "2000")  # GNU's: turns of a loop, microseconds
        environment.setdefault("KMP_BLOCKTIME", "1")  # LLVM's and Intel's: milliseconds


bound_spinning(os.environ)
