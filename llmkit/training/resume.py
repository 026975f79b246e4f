"""Resume a stopped run: find its checkpoint, and check that it is still the same run."""

import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from pydantic import ValidationError
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.config.recipe import flat
from llmkit.config.schema import Train
from llmkit.errors import UserError, printable
from llmkit.io.atomic import (
    CorruptFolder,
    make_folder,
    recover,
    require_room,
    verify,
    write_manifest,
)
from llmkit.model.load import save_model
from llmkit.model.loss import unwrap_model
from llmkit.model.trainable import has_dropout
from llmkit.runs.folder import checkpoint_dir, checkpoints_dir, model_dir, results_path
from llmkit.runtime.console import warning_console
from llmkit.runtime.ranks import is_rank_zero
from llmkit.runtime.rendezvous import from_first_process
from llmkit.training.checkpoint import (
    load_state,
    newest,
    optimizer_tensors,
    restore,
    restore_optimizer,
    trained,
)
from llmkit.training.optim import state_bytes
from llmkit.training.state import DROPOUT_VERSION, CheckpointState, ReproducibilityKey
from llmkit.training.trainer import Trainer
from llmkit.units import show_bytes

# These may move: their content is compared, not their path.
MOVABLE_KEYS = (
    "model.name", "model.scratch.tokenizer", "data.train", "data.validation", "data.test",
)  # fmt: skip


class ResumePoint(CheckpointState):
    """A checkpoint to resume from, and its record of the run."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> "ResumePoint":
        """The checkpoint in a folder."""
        try:
            state = CheckpointState.model_validate(load_state(path))
        except (CorruptFolder, ValidationError) as error:
            reason = printable(" ".join(str(error).split()))
            raise UserError(
                f"{path}: not a checkpoint that this version of llmkit can read ({reason})"
            ) from None
        step = state.progress.step
        if path.name != checkpoint_dir(path, step).name:
            raise UserError(f"{path}: contains step {step}, not the step of its name")
        return cls(path=path, **dict(state))


def find_resume_point(run: Path, console: Console) -> ResumePoint:
    """Find the newest intact checkpoint of a run; prints its name and the damage of newer ones."""
    if results_path(run).is_file():
        raise UserError(
            f"{run}: this run has finished; to train its model further, start a new run with "
            f"model={shlex.quote(str(run))}"
        )
    path, reasons = newest(run)
    for reason in reasons:
        warning_console().print(f"warning: skipped {reason}")
    if path is None:
        raise UserError(f"{run}: no checkpoint to resume from; start a new run, without --resume")
    resume_point = ResumePoint.of(path)
    step = resume_point.progress.step
    console.print(f"resume  after step {step}: {path}, the newest intact one")
    return resume_point


def check_recipe(
    before: dict[str, Any], now: dict[str, Any], allowed_changes: tuple[str, ...]
) -> None:
    """Raise UserError that lists the changed recipe keys, except for those that may change.

    Args:
        before: The keys of the run's recipe, as `recipe_keys` returns them.
        now: Those of the recipe that resumes it.
    """

    def may_move(key: str) -> bool:
        is_extra_set = key.startswith("data.tests.") or key == "evaluation.general_text"
        is_in_both = None not in (before.get(key), now.get(key))
        is_mixed_file = re.fullmatch(r"data\.mix\.[^.]+\.train", key) is not None
        return key in MOVABLE_KEYS or ((is_extra_set or is_mixed_file) and is_in_both)

    keys = [key for key in {**before, **now} if not may_move(key)]
    changed = [key for key in keys if before.get(key) != now.get(key)]
    lines = [
        f"{key}: {before.get(key)!r} in the run, {now.get(key)!r} now; restore it, or accept the "
        f"change with --allow-change {key}"
        for key in changed
        if key not in allowed_changes
    ]
    if lines:
        raise UserError("\n".join(lines))


def check_reproducibility(
    resume_point: ResumePoint, key: ReproducibilityKey, allowed_changes: tuple[str, ...]
) -> None:
    """Raise UserError if the rows, the tokenizer or the base model are not those of the run; warn
    of any other difference that prevents bit-identical results."""
    if not key.deterministic:
        warning_console().print(
            f"warning: resumed on {key.device} without train.deterministic: not bit-identical"
        )
    before = dict(flat(resume_point.reproducibility_key.model_dump()))
    now = dict(flat(key.model_dump()))
    lines = []
    for name in [name for name in before if before[name] != now.get(name)]:
        what = name.removesuffix(".tokens_sha256").removesuffix(".sha256")
        if not name.endswith("sha256"):
            warning_console().print(
                f"warning: {name} was {before[name]}, is {now.get(name)}: not bit-identical"
            )
        elif what not in allowed_changes:
            subject = "base model's weights" if what == "model" else "rows, or their tokens,"
            lines.append(
                f"{what}: the {subject} are not those of the run; restore them, or accept the "
                f"change with --allow-change {what}"
            )
    if lines:
        raise UserError("\n".join(lines))


def with_memory_of_run(resume_point: ResumePoint, now: Train, num_processes: int) -> Train:
    """The settings with the limit of micro-batches and the activation checkpointing that the run
    had at its checkpoint, as far as recipe and number of processes are those of the run."""
    before, progress = resume_point.recipe.train, resume_point.progress
    if num_processes != resume_point.reproducibility_key.num_processes:
        return now
    limits = ("micro_batch_size", "micro_batch_tokens")
    names = list(limits) if all(getattr(before, n) == getattr(now, n) for n in limits) else []
    if before.activation_checkpointing == now.activation_checkpointing:
        names.append("activation_checkpointing")
    of_run = {name: getattr(progress, name) for name in names}
    return now.model_copy(update={n: value for n, value in of_run.items() if value is not None})


def restore_run(
    resume_point: ResumePoint,
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    run: Path,
    *,
    is_same_recipe: bool,
) -> None:
    """Restore the trainer from the checkpoint, and the best weights in the model folder."""
    progress, schedule = resume_point.progress, trainer.schedule
    if progress.step > schedule.num_steps:
        raise UserError(
            f"{resume_point.path}: saved after step {progress.step}, but the run now ends at step "
            f"{schedule.num_steps}; raise train.max_steps, or start a new run"
        )
    if progress.num_tokens is None:
        progress.num_tokens = sum(map(schedule.num_tokens, range(progress.step)))
    if progress.step == schedule.num_steps and not is_same_recipe:
        progress.validation_pending = True  # the step was not the last one then
    optimizer = trainer.optimizer
    if resume_point.recipe.train.optimizer != trainer.settings.optimizer:
        warning_console().print(
            "warning: the optimizer differs from the run's, so its moments start at zero"
        )
        optimizer = None
    if resume_point.dropout_version != DROPOUT_VERSION and has_dropout(trainer.model):
        warning_console().print(
            "warning: the checkpoint is of another version of llmkit, which seeded dropout "
            "differently: from here on, dropout masks are not those of a run that was never stopped"
        )

    def restore_from_disk() -> None:
        with unusable(run):
            if progress.best_step:
                restore_best_model(progress.best_step, trainer.model, tokenizer, run)
            restore(resume_point.path, trainer.model, optimizer)

    from_first_process(restore_from_disk)
    if schedule.num_processes > 1:
        share_state(trainer.model, optimizer, trainer.accelerator.device)
    if trainer.accelerator.scaler is not None and progress.scaler:
        with unusable(run):
            trainer.accelerator.scaler.load_state_dict(progress.scaler)
    trainer.progress = progress


@contextmanager
def unusable(run: Path) -> Iterator[None]:
    """Turn errors about the content of a checkpoint into UserErrors."""
    try:
        yield
    except (CorruptFolder, KeyError, TypeError) as error:  # the last two: from the scaler
        raise UserError(f"{run}: {error}; start a new run, without --resume") from None


def share_state(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, device: torch.device
) -> None:
    """Broadcast the restored weights and optimizer state of the first process to all others."""
    weights = trained(model)
    for weight in weights.values():
        broadcast(weight.data)
    if optimizer is None:
        return
    mine = optimizer_tensors(model, optimizer)
    layout = from_first_process(
        lambda: {name: (list(t.shape), str(t.dtype).split(".")[1]) for name, t in mine.items()},
        dict[str, tuple[list[int], str]],
    )
    state = {}
    for name, (shape, dtype) in layout.items():
        sent = mine[name] if is_rank_zero() else torch.empty(shape, dtype=getattr(torch, dtype))
        state[name] = broadcast(sent.to(device)).cpu()
    if not is_rank_zero():
        restore_optimizer(state, weights, optimizer)


def restore_best_model(
    best_step: int, model: nn.Module, tokenizer: PreTrainedTokenizerBase, run: Path
) -> None:
    """Write the best weights from their checkpoint to the model folder, which may be missing, or
    hold those of a later step that was lost.

    Raises CorruptFolder if both the checkpoint and the folder are damaged.
    """
    folder, best = model_dir(run), checkpoint_dir(run, best_step)
    recover(folder)
    try:
        verify(best)
    except (CorruptFolder, OSError):
        verify(folder)
        return
    restore(best, model, None)
    save_model(model, tokenizer, folder)


def check_disk_space(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, run: Path, keep: int
) -> None:
    """Raise UserError, before the first step, if the disk has no space for the files of the run.

    keep: Checkpoints that are kept.
    """
    if not trainer.accelerator.is_main_process:
        return
    model = trainer.model
    bare = unwrap_model(model)
    all_bytes = num_bytes_of(model.parameters())
    weights = trained(model).values()
    checkpoint_bytes = num_bytes_of(weights) + state_bytes(trainer.optimizer, weights)
    num_checkpoints = keep + 2  # also the best one, and the next one before the oldest is deleted
    num_bytes = num_checkpoints * checkpoint_bytes + 2 * all_bytes
    folder = checkpoints_dir(run) / "disk-check.partial"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        make_folder(folder)
        bare.config.save_pretrained(folder)
        bare.generation_config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_manifest(folder)
        require_room(folder, num_bytes)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(
            f"{run}: cannot save there ({reason}); about {show_bytes(num_bytes)} are needed: free "
            "some space, lower checkpoint.keep, or give another --run-dir"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def num_bytes_of(weights: Iterable[nn.Parameter]) -> int:
    return sum(weight.numel() * weight.element_size() for weight in weights)
