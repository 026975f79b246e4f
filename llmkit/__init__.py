"""llmkit: fine-tune GPT-2 and prove what came of it."""

import os
from collections.abc import MutableMapping

__version__ = "0.1.0"


def bound_spinning(environment: MutableMapping[str, str]) -> None:
    """Make OpenMP's idle threads sleep soon, unless the user has set how they wait.

    By default they spin for milliseconds after each parallel region. When another program needs
    their core, the spinning takes time from the very thread that they wait for: next to one busy
    program, training is more than ten times slower. The libraries read these variables when torch
    is imported.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "2000")  # GNU: iterations, some microseconds
        environment.setdefault("KMP_BLOCKTIME", "1")  # LLVM and Intel: milliseconds


bound_spinning(os.environ)
