"""Checkpoints: everything that a run needs to be resumed.

    RUN/checkpoints/step-00000120/
        weights.safetensors     the trained weights, by name
        optimizer.safetensors   the state of the optimizer, by the names of the weights
        state.json              progress, recipe and reproducibility key, see state.py
        manifest.json           size and sha256 of the other files, written last

There is no random state in it: the order of the rows, the learning rate and the dropout masks are
pure functions of seed and step.
"""

import errno
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmkit.io.atomic import (
    CorruptFolder,
    disk_errors,
    read_own_json,
    recover,
    verify,
    write_folder,
)
from llmkit.io.safe_json import to_json
from llmkit.runs.folder import checkpoint_dir, checkpoints
from llmkit.training.optim import state_shapes

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


def save_checkpoint(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write the checkpoint of the step in `state`; returns its folder.

    state: The content of state.json.
    """

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
    """The newest intact checkpoint (None if there is none), and what is wrong with newer ones."""
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
    """Verify the checkpoint just saved, and delete those that are no longer needed.

    The saved one and those before it are kept, `keep` in all, and for each of them the checkpoint
    of its best weights. Later ones are deleted: a resumed run takes their steps again.

    Raises OSError, and deletes nothing, if the saved checkpoint is not intact.
    """
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
    return read_own_json(checkpoint / STATE)


def best_step_of(checkpoint: Path) -> int:
    """The step of the best weights so far; 0 if the checkpoint cannot be read."""
    try:
        return int(load_state(checkpoint)["progress"]["best_step"])
    except (CorruptFolder, OSError, KeyError, TypeError, ValueError, OverflowError):
        return 0


def restore(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Load the weights of a checkpoint, and the state of its optimizer.

    Raises CorruptFolder if names, shapes or types are not those of the model.
    """
    weights = trained(model)
    loaded = _load(checkpoint / WEIGHTS)
    _check_names(loaded, weights, WEIGHTS)
    for name, tensor in loaded.items():
        _check_like(tensor, weights[name].shape, weights[name].dtype, f"{WEIGHTS}: {name}")
    with torch.no_grad():
        for name, tensor in loaded.items():
            weights[name].copy_(tensor)
    if optimizer is not None:
        restore_optimizer(_load(checkpoint / OPTIMIZER), weights, optimizer)


def restore_optimizer(
    tensors: dict[str, Tensor], weights: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Load what `optimizer_tensors` returned; torch numbers the weights, a checkpoint names them.

    Raises CorruptFolder unless it is the state of all these weights, or of none.
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
        for name, weight in weights.items()
        for field, shape in state_shapes(optimizer, weight).items()
    }
    if tensors:  # none before the first step
        _check_names(tensors, shapes, OPTIMIZER)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, field = key.rpartition("/")
        _check_like(tensor, shapes[key], weights[name].dtype, f"{OPTIMIZER}: {key}")
        state.setdefault(numbers[weights[name]], {})[field] = tensor.clone()
    optimizer.load_state_dict({**content, "state": state})


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by `NAME OF THE WEIGHT/FIELD`."""
    return {
        f"{name}/{field}": value
        for name, weight in trained(model).items()
        for field, value in optimizer.state.get(weight, {}).items()
        if value is not None  # momentum is None before the first step
    }


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable weights by name."""
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
