"""Going on with a run that was stopped: from which checkpoint, and whether it is the same run."""

import shlex
import shutil
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.config.recipe import flat, with_absolute_paths
from llmkit.config.schema import Recipe
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
from llmkit.runs.folder import checkpoint_dir, checkpoints_dir, model_dir, results_path
from llmkit.runtime.console import warning_console
from llmkit.training.checkpoint import load_state, newest, restore, trained
from llmkit.training.state import DROPOUT_VERSION, CheckpointState, ReproducibilityKey
from llmkit.training.trainer import Trainer

# These may move: what stands there is compared, not the path.
PLACES = ("model.name", "data.train", "data.validation", "data.test")


class ResumePoint:
    """A checkpoint to go on from, and what it says of its run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            state = CheckpointState.model_validate(load_state(path))
        except (CorruptFolder, ValidationError) as error:
            reason = printable(" ".join(str(error).split()))
            raise UserError(f"{path}: no checkpoint of this version of llmkit ({reason})") from None
        self.progress, self.recipe, self.facts = state.progress, state.recipe, state.facts
        self.dropout_version = state.dropout_version
        if path.name != checkpoint_dir(path, self.progress.step).name:
            raise UserError(f"{path}: it is of step {self.progress.step}, not of its name's")


def find_resume_point(run: Path, console: Console) -> ResumePoint:
    """The newest checkpoint of a run that verifies; says which, and why not a newer one."""
    if results_path(run).is_file():
        raise UserError(
            f"{run}: this run has finished; to train its model further, start a new run with "
            f"model={shlex.quote(str(run))}"
        )
    path, reasons = newest(run)
    for reason in reasons:
        warning_console().print(f"warning: skipped {reason}")
    if path is None:
        raise UserError(f"{run}: no checkpoint to resume from; start again, without --resume")
    origin = ResumePoint(path)
    console.print(f"resume  after step {origin.progress.step}: {path}, the newest intact one")
    return origin


def check_recipe(origin: ResumePoint, recipe: Recipe, allowed: tuple[str, ...]) -> None:
    """Raise UserError for each key that is not as it was, unless it is among those allowed."""
    recipes = map(with_absolute_paths, (origin.recipe, recipe))
    before, now = (dict(flat(each.model_dump(mode="json"))) for each in recipes)

    def may_move(key: str) -> bool:
        is_further = key.startswith("data.tests.") or key == "evaluation.general_text"
        return key in PLACES or (is_further and None not in (before.get(key), now.get(key)))

    keys = [key for key in {**before, **now} if not may_move(key)]
    changed = [key for key in keys if before.get(key) != now.get(key)]
    lines = [
        f"{key}: {before.get(key)!r} in the run, {now.get(key)!r} now; leave it, or go on all the "
        f"same with --allow-change {key}"
        for key in changed
        if key not in allowed
    ]
    if lines:
        raise UserError("\n".join(lines))


def check_facts(origin: ResumePoint, facts: ReproducibilityKey, allowed: tuple[str, ...]) -> None:
    """Raise UserError where rows, tokenizer or base model are not the run's; say what else is not,
    since then the rest of the run need not be the same bit by bit."""
    before, now = dict(flat(origin.facts.model_dump())), dict(flat(facts.model_dump()))
    changed = [key for key in before if before[key] != now.get(key)]
    lines = []
    for key in changed:
        name = key.removesuffix(".tokens_sha256").removesuffix(".sha256")
        if not key.endswith("sha256"):
            warning_console().print(
                f"warning: {key} was {before[key]}, is {now.get(key)}: not bit-identical"
            )
        elif name not in allowed:
            what = "base model's weights" if name == "model" else "rows, or their tokens,"
            lines.append(
                f"{name}: the {what} are not those of the run; bring them back, or go on all the "
                f"same with --allow-change {name}"
            )
    if lines:
        raise UserError("\n".join(lines))


def restore_run(
    origin: ResumePoint,
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    run: Path,
    recipe: Recipe,
) -> None:
    """Restore the trainer from the checkpoint, and the best weights in the model folder."""
    progress, schedule = origin.progress, trainer.schedule
    if progress.step > schedule.num_steps:
        raise UserError(
            f"{origin.path}: it was saved after step {progress.step}, but the run now has "
            f"{schedule.num_steps} only; train longer, or start again"
        )
    is_same = with_absolute_paths(origin.recipe) == with_absolute_paths(recipe)
    if progress.step == schedule.num_steps and not is_same:
        progress.validation_pending = True  # the step was not the last one then
    optimizer = trainer.optimizer
    if origin.recipe.train.optimizer != trainer.settings.optimizer:
        warning_console().print(
            "warning: the optimizer differs from the run's, so its moments start at zero"
        )
        optimizer = None
    if origin.dropout_version != DROPOUT_VERSION and has_dropout(trainer.model):
        warning_console().print(
            "warning: the checkpoint is of another version of llmkit, which seeded dropout "
            "differently: from here on, dropout masks are not those of a run that was never stopped"
        )
    try:
        if progress.best_step and trainer.accelerator.is_main_process:
            restore_best_model(progress.best_step, trainer.model, tokenizer, run)
        restore(origin.path, trainer.model, optimizer)
        if trainer.accelerator.scaler is not None and progress.scaler:
            trainer.accelerator.scaler.load_state_dict(progress.scaler)
    except (CorruptFolder, KeyError, TypeError) as error:  # the latter two: of a scaler's state
        raise UserError(f"{run}: {error}; start again, without --resume") from None
    if schedule.num_processes == origin.facts.num_processes:
        schedule.micro_batch_size = progress.micro_batch_size
    trainer.progress = progress


def has_dropout(model: nn.Module) -> bool:
    """Whether any layer, of the model or of an adapter, has a dropout above 0."""
    return any(layer.p > 0 for layer in model.modules() if isinstance(layer, nn.Dropout))


def restore_best_model(
    best_step: int, model: nn.Module, tokenizer: PreTrainedTokenizerBase, run: Path
) -> None:
    """Write the best weights out of their checkpoint: the model folder may hold those of a later
    step, which was lost, or of none. If that checkpoint is not whole, the folder has to be."""
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
    """Raise UserError, before the first step, if what the run saves has no room in its folder.

    keep: Checkpoints that are kept.
    """
    if not trainer.accelerator.is_main_process:
        return
    model = trainer.model
    bare = unwrap_model(model)
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    moving = sum(w.numel() * w.element_size() for w in trained(model).values())
    kept = keep + 2  # the best one, and the next, before the oldest goes
    num_bytes = kept * 3 * moving + 2 * weights
    folder = checkpoints_dir(run) / "rehearsal.partial"
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
            f"{run}: nothing could be saved there ({reason}); about {num_bytes / 1e9:.1f} GB are "
            "needed: make room, lower checkpoint.keep, or give another --run-dir"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
