"""Checkpoints: all that a run needs to go on.

    RUN/checkpoints/step-00000120/
        weights.safetensors     the trained weights, by name
        optimizer.safetensors   the optimizer's state, by the names of the weights
        state.json              how far the run has come
        manifest.json           size and sha256 of the others, written last

No random state is in it: the order of the rows, the learning rate and what dropout draws are pure
functions of seed and step.
"""

import errno
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmkit.io.atomic import CorruptFolder, disk_errors, read_json, recover, verify, write_folder
from llmkit.io.safe_json import to_json
from llmkit.runs.folder import checkpoint_dir, checkpoints
from llmkit.training.optim import state_shapes

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


def save_checkpoint(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write the checkpoint of a step, the one that the state's progress names."""

    def write(staging: Path) -> None:
        weights = {name: weight.detach() for name, weight in trained(model).items()}
        with disk_errors(staging):
            save_file(_plain(weights), staging / WEIGHTS)
            save_file(_plain(optimizer_tensors(model, optimizer)), staging / OPTIMIZER)
        (staging / STATE).write_text(to_json(state, indent=2) + "\n", "utf-8")

    path = checkpoint_dir(run, state["progress"]["step"])
    write_folder(path, write)
    return path


def newest(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and why newer ones do not; by step, not by date."""
    reasons = []
    for path in checkpoints(run):
        try:
            recover(path)
            verify(path)
        except (CorruptFolder, OSError) as error:
            reasons.append(f"{path}: {error}")
        else:
            return path, reasons
    return None, reasons


def prune(run: Path, saved: Path, keep: int) -> None:
    """Once the one that was just saved verifies, keep it and those before it, `keep` in all, and of
    each of them the best one so far; later ones are of a course that was given up."""
    try:
        verify(saved)
    except CorruptFolder as error:
        raise OSError(errno.EIO, f"not what was written: {error}", str(saved)) from None
    found = checkpoints(run)
    kept = [path for path in found if path.name <= saved.name][:keep]
    best = [checkpoint_dir(run, best_step_of(path)) for path in kept]
    for path in found:
        if path not in (*kept, *best):
            shutil.rmtree(path, ignore_errors=True)
    for path in saved.parent.glob("*.partial"):
        shutil.rmtree(path, ignore_errors=True)


def load_state(checkpoint: Path) -> dict[str, Any]:
    return read_json(checkpoint / STATE)


def best_step_of(checkpoint: Path) -> int:
    """The step of the best weights so far; 0 where that cannot be read."""
    try:
        return int(load_state(checkpoint)["progress"]["best_step"])
    except (CorruptFolder, OSError, KeyError, TypeError, ValueError, OverflowError):
        return 0


def restore(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Put a checkpoint's weights, and its optimizer's state, in their places.

    Raises CorruptFolder where names, shapes or types are not those of the model.
    """
    places = trained(model)
    loaded = _load(checkpoint / WEIGHTS)
    _check_names(loaded, places, WEIGHTS)
    for name, weight in loaded.items():
        _check_like(weight, places[name].shape, places[name].dtype, f"{WEIGHTS}: {name}")
    with torch.no_grad():
        for name, weight in loaded.items():
            places[name].copy_(weight)
    if optimizer is not None:
        restore_optimizer(_load(checkpoint / OPTIMIZER), places, optimizer)


def restore_optimizer(
    tensors: dict[str, Tensor], places: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """The state that `optimizer_tensors` gave; torch knows weights by their number, we by name.

    Raises CorruptFolder where it is not the state of all these weights, or of none.
    """
    content = optimizer.state_dict()
    groups = zip(content["param_groups"], optimizer.param_groups, strict=True)
    numbers = {
        weight: number
        for numbered, group in groups
        for number, weight in zip(numbered["params"], group["params"], strict=True)
    }
    shapes = {
        f"{name}/{field}": shape
        for name, weight in places.items()
        for field, shape in state_shapes(optimizer, weight).items()
    }
    if tensors:  # none before the first step
        _check_names(tensors, shapes, OPTIMIZER)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, field = key.rpartition("/")
        _check_like(tensor, shapes[key], places[name].dtype, f"{OPTIMIZER}: {key}")
        state.setdefault(numbers[places[name]], {})[field] = tensor.clone()
    optimizer.load_state_dict({**content, "state": state})


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as `name of the weight/field`."""
    return {
        f"{name}/{field}": value
        for name, weight in trained(model).items()
        for field, value in optimizer.state.get(weight, {}).items()
        if value is not None  # momentum before its first step
    }


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CorruptFolder(f"{path.name}: {error}") from None


def _check_names(found: dict[str, Any], expected: dict[str, Any], file: str) -> None:
    if found.keys() != expected.keys():
        raise CorruptFolder(f"{file} and the model differ in {min(found.keys() ^ expected.keys())}")


def _check_like(tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> None:
    if tensor.shape != torch.Size(shape) or tensor.dtype != dtype:
        raise CorruptFolder(
            f"{what} is {list(tensor.shape)} of {tensor.dtype}, not {list(shape)} of {dtype}"
        )
