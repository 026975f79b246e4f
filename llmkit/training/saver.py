"""Save checkpoints and the best weights during training."""

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from llmkit.config.decided import Value
from llmkit.config.recipe import with_absolute_paths
from llmkit.config.schema import Recipe
from llmkit.io.atomic import sync
from llmkit.model.load import save_model
from llmkit.runs.folder import log_path, model_dir, samples_path
from llmkit.runtime.devices import wait_for_all
from llmkit.runtime.failures import memory_errors
from llmkit.training.checkpoint import prune, save_checkpoint
from llmkit.training.state import (
    DROPOUT_VERSION,
    CheckpointState,
    ReproducibilityKey,
    TrainingProgress,
)
from llmkit.training.trainer import Trainer
from llmkit.units import show_bytes


@dataclass
class RunSaver:
    """Writes a run's checkpoints and best weights: the first process writes, the others wait."""

    run: Path
    tokenizer: PreTrainedTokenizerBase
    recipe: Recipe
    reproducibility_key: ReproducibilityKey
    decided: dict[str, Value]
    """Values of the keys that the recipe leaves to the run."""
    saved_at: float = field(default_factory=lambda: time.monotonic())
    """Time of this process's last checkpoint, or of its start; seconds of a monotonic clock."""

    @property
    def follows_validations(self) -> bool:
        """Whether each validation is followed by a checkpoint."""
        return self.recipe.checkpoint.every is None

    def is_due(self, step: int) -> bool:
        """Whether checkpoint.every asks for a checkpoint after this step."""
        every = self.recipe.checkpoint.every
        return every is not None and step % every == 0

    def is_overdue(self) -> bool:
        """Whether checkpoint.minutes have passed since the last checkpoint."""
        seconds = 60 * (self.recipe.checkpoint.minutes or math.inf)
        return time.monotonic() - self.saved_at > seconds

    def save_checkpoint(self, trainer: Trainer) -> None:
        """Write a checkpoint of the last step, and delete those that are no longer needed."""
        if trainer.accelerator.is_main_process:
            for path in (log_path(self.run), samples_path(self.run)):
                if path.is_file():  # the checkpoint relies on every line that was written so far
                    sync(path)
            state = self.state(trainer.current_progress()).model_dump(mode="json")
            with saving_in_memory(trainer, "the checkpoint"):
                saved = save_checkpoint(self.run, trainer.model, trainer.optimizer, state)
            prune(self.run, saved, self.recipe.checkpoint.keep)
        wait_for_all(trainer.accelerator)
        self.saved_at = time.monotonic()

    def state(self, progress: TrainingProgress) -> CheckpointState:
        """The content of a checkpoint's state.json."""
        return CheckpointState(
            progress=progress,
            recipe=with_absolute_paths(self.recipe),
            reproducibility_key=self.reproducibility_key,
            decided=self.decided,
            dropout_version=DROPOUT_VERSION,
        )

    def save_best_model(self, trainer: Trainer) -> None:
        """Write the weights as the run's model."""
        if trainer.accelerator.is_main_process:
            with saving_in_memory(trainer, "the model"):
                save_model(trainer.model, self.tokenizer, model_dir(self.run))
        wait_for_all(trainer.accelerator)


def saving_in_memory(trainer: Trainer, what: str) -> AbstractContextManager[None]:
    """Context in which out-of-memory errors get an explanation."""
    num_bytes = sum(weight.nbytes for weight in trainer.model.parameters())
    return memory_errors(
        f"saving {what} of step {trainer.progress.step}",
        f"the weights alone take {show_bytes(num_bytes)}: end other programs on this machine",
    )
