"""What a checkpoint says beside weights and moments: how far its run has come, and which it is."""

from typing import Any, Literal

import torch
from pydantic import BaseModel, field_validator

from llmkit.config.moved_keys import upgrade_recipe
from llmkit.config.recipe import with_absolute_paths
from llmkit.config.schema import Recipe
from llmkit.runtime.devices import Arithmetic
from llmkit.training.progress import Progress

# Names of earlier versions.
MOVED_PROGRESS = {
    "misses": "validations_without_improvement",
    "num_left_out": "num_skipped_steps",
}


class ReproducibilityKey(BaseModel):
    """What decides whether a resumed run is the same, bit by bit."""

    device: str
    mixed_precision: Literal["no", "bf16", "fp16"]
    float32_matmul_precision: Literal["highest", "high", "medium"]
    num_processes: int
    threads: int
    torch: str
    model: dict[Literal["sha256"], str]
    data: dict[str, dict[Literal["tokens_sha256"], str]]

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic(self.threads, self.mixed_precision, self.float32_matmul_precision)


class CheckpointState(BaseModel):
    """The content of a checkpoint's state.json."""

    progress: Progress
    recipe: Recipe
    facts: ReproducibilityKey

    @field_validator("recipe", mode="before")
    @classmethod
    def _upgrade_recipe(cls, recipe: Any) -> Any:
        return upgrade_recipe(recipe) if isinstance(recipe, dict) else recipe

    @field_validator("progress", mode="before")
    @classmethod
    def _upgrade_progress(cls, progress: Any) -> Any:
        if not isinstance(progress, dict):
            return progress
        return {MOVED_PROGRESS.get(key, key): value for key, value in progress.items()}


def facts_of(record: dict[str, Any]) -> ReproducibilityKey:
    """The facts in a run's record, and of this process."""
    names = ("device", "mixed_precision", "float32_matmul_precision", "num_processes")
    return ReproducibilityKey(
        **{name: record[name] for name in names},
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        model={"sha256": record["model"]["sha256"]},
        data={
            split: {"tokens_sha256": of["tokens_sha256"]} for split, of in record["data"].items()
        },
    )


def state_of(progress: Progress, recipe: Recipe, record: dict[str, Any]) -> dict[str, Any]:
    """What `CheckpointState` reads back."""
    state = CheckpointState(
        progress=progress, recipe=with_absolute_paths(recipe), facts=facts_of(record)
    )
    return state.model_dump(mode="json")
