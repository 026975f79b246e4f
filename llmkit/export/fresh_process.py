"""The outputs of an export, computed in a new process that knows nothing but its folder.

    python -m llmkit.export.fresh_process FORMAT FOLDER WORK_DIR

reads WORK_DIR/inputs.json, opens the export in the program that will run it, and writes the outputs
into WORK_DIR.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from llmkit.errors import printable
from llmkit.export.formats import FORMATS
from llmkit.export.inputs import Inputs
from llmkit.export.outputs import Outputs, compute_outputs
from llmkit.runtime.console import library_imports
from llmkit.runtime.launch import child_environment


class CannotOpen(Exception):
    """A program cannot open an export; the message is its reason."""


def compute_in_fresh_process(format_name: str, folder: Path, inputs: Inputs) -> Outputs:
    """Compute the outputs of the export in `folder`. Raises CannotOpen if the process fails."""
    with tempfile.TemporaryDirectory(prefix="llmkit-export-") as work_dir:
        inputs.write(Path(work_dir) / "inputs.json")
        command = [sys.executable, "-m", __name__, format_name, str(folder), work_dir]
        environment = {**child_environment(), "OMP_NUM_THREADS": str(torch.get_num_threads())}
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace"
        )
        reason = Path(work_dir) / "reason.txt"
        if reason.is_file():
            raise CannotOpen(reason.read_text("utf-8"))
        if process.returncode:
            raise CannotOpen(failure_of(process))
        return Outputs.read(Path(work_dir))


def failure_of(process: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed that left no reason."""
    if process.returncode == -signal.SIGKILL:  # what it printed before says nothing about this
        return "its process was killed, perhaps because memory ran out"
    if process.returncode < 0:
        return f"its process crashed with {signal.Signals(-process.returncode).name}"
    lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
    return printable(lines[-1])


def main(format_name: str, folder: str, work_dir: str) -> None:
    """Compute the outputs, or write to WORK_DIR/reason.txt why that failed."""
    try:
        with library_imports():
            runtime = FORMATS[format_name].open_folder(Path(folder))
        inputs = Inputs.read(Path(work_dir) / "inputs.json")
        compute_outputs(runtime, inputs).write(Path(work_dir))
    except Exception as error:  # damaged files make the libraries raise errors of any type
        reason = printable(f"{type(error).__name__}: {error}")
        (Path(work_dir) / "reason.txt").write_text(reason, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
