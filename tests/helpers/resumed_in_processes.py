"""One of several processes that train a run, and the same run stopped and resumed.

resumed_in_processes.py MODEL FOLDER trains FOLDER/whole and FOLDER/stopped.
"""

import sys
from pathlib import Path

import pytest
import torch
from stopped_runs import interrupted, run_to_the_end, six_steps

if __name__ == "__main__":
    model, folder = map(Path, sys.argv[1:])
    recipe = six_steps(model, folder, "train.dropout=0.1")
    run_to_the_end(recipe, folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        interrupted(recipe, folder / "stopped", patch, 3)
    torch.distributed.destroy_process_group()
