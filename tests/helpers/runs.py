"""Runs in the test process, and the folder of scripts for other processes."""

import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parent

# Overrides of a run of two steps.
SHORT = (
    "data.max_length=128", "train.epochs=null", "train.max_steps=2", "train.global_batch_size=4",
    "evaluation.validation_rows=4", "evaluation.test_rows=4", "generation.max_new_tokens=4",
)  # fmt: skip


def forget_accelerator() -> None:
    """Reset accelerate, which keeps the first precision it was given in a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def start_ranks(arguments, environments, folders):
    """Start one process of the command line for each environment; returns (code, output, errors)
    of each."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "llmkit", *map(str, arguments)],
            env=environment, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for environment, folder in zip(environments, folders, strict=True)
    ]  # fmt: skip
    said = [process.communicate() for process in processes]
    return [(p.returncode, *each) for p, each in zip(processes, said, strict=True)]
