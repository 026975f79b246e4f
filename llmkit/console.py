"""The terminal: one console for what a person reads, and libraries that keep quiet."""

import logging
import os
import warnings

from rich.console import Console


def make_console(*, stderr: bool = False) -> Console:
    """Lines wrap on a terminal; into a file or a pipe they stay whole."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def quiet_libraries() -> None:
    """No bars or advice from below: what matters, llmkit says itself. Call before imports."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
