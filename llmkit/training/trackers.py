"""Experiment trackers that a run's figures are also sent to."""

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from llmkit.errors import UserError
from llmkit.io.safe_json import write_json
from llmkit.io.small_json import UnreadableJson, read_json
from llmkit.runs.folder import trackers_path

# The environment variables in which users of these trackers set the project.
PROJECTS = {"wandb": "WANDB_PROJECT", "trackio": "TRACKIO_PROJECT"}


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError for a tracker that is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"trackers: {name} is not installed; pip install {name}")


def start_trackers(
    accelerator: Accelerator,
    names: Sequence[str],
    config: Mapping[str, Any],
    run: Path,
    step: int,
) -> None:
    """Have accelerate send what is logged to these trackers, under the run's name.

    Args:
        config: What the trackers show as the configuration of the run.
        step: Optimizer steps done; above 0, the trackers resume their record of the run.
    """
    if not (names and accelerator.is_main_process):
        return
    accelerator.project_configuration.set_directories(str(run))
    config = {key: str(value) for key, value in config.items()}
    started = []
    for name in names:
        accelerator.trackers = []
        accelerator.log_with = filter_trackers([name], str(run))
        settings = {name: tracker_settings(name, run, step)}
        accelerator.init_trackers(project_of(name), config=config, init_kwargs=settings)
        started += accelerator.trackers
    accelerator.trackers = started


def project_of(tracker: str) -> str:
    """The project of a tracker's runs."""
    return os.environ.get(PROJECTS.get(tracker, "")) or "llmkit"


def tracker_settings(tracker: str, run: Path, step: int) -> dict[str, Any]:
    """Settings with which a tracker continues a resumed run instead of starting another one."""
    if tracker == "wandb":
        return {"name": run.name, "id": wandb_id(run), "resume": "allow"}
    if tracker == "trackio":
        return {"name": run.name, "resume": "allow" if step else "never"}
    return {"purge_step": step + 1} if step else {}  # later steps are logged again


def wandb_id(run: Path) -> str:
    """The id of the run at Weights & Biases, which is kept in the run folder."""
    path = trackers_path(run)
    try:
        name = read_json(path).get("wandb")
    except UnreadableJson:  # a new run, or one without wandb so far
        name = None
    if not isinstance(name, str):
        name = uuid4().hex[:8]
        write_json(path, {"wandb": name})
    return name
