"""The content of a checkpoint's state.json: the progress of its run, and which run it is."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import AliasChoices, BaseModel, Field, field_validator

from llmkit.config.decided import Value
from llmkit.config.moved_keys import upgrade_recipe
from llmkit.config.schema import Recipe
from llmkit.runs.record import RunRecord
from llmkit.runtime.devices import Arithmetic
from llmkit.tasks import Scores

DROPOUT_VERSION = 2  # seeding of dropout masks: 1 by Python's hash, 2 by `dropout_seed`
# Names of earlier versions.
MOVED_PROGRESS = {
    "misses": "validations_without_improvement",
    "num_left_out": "num_skipped_steps",
}


@dataclass
class TrainingProgress:
    """The state of a run between steps, apart from weights and optimizer state.

    All values are plain numbers, so that a checkpoint can store them as JSON.
    """

    step: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps done."""
    validation_pending: bool = False
    """Whether the validation that is due after this step has not been done yet."""
    best_step: Annotated[int, Field(ge=0)] = 0
    """The step whose weights scored best; 0: none yet."""
    best_rank: list[float] | None = None
    """Score of the best step, negated if lower is better, and its negated loss."""
    validations_without_improvement: int = 0
    """Validations since the best step."""
    num_skipped_steps: int = 0
    """Steps skipped because their loss or gradient was not finite."""
    num_tokens: int | None = 0
    """Tokens of the rows of all steps so far, without padding; None: unknown, as an earlier version
    did not count them."""
    num_updates: int = 0
    """Steps that changed the weights."""
    num_overflows: int = 0
    """Consecutive most recent steps whose fp16 gradient overflowed."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Largest number of rows of a micro-batch. The dropout masks depend on the micro-batches."""
    micro_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Largest number of tokens of a micro-batch."""
    activation_checkpointing: bool | None = None
    """Whether activation checkpointing is enabled, by the memory plan or after running out of
    memory; None in checkpoints of earlier versions."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the fp16 gradient scaler; empty without one."""

    def update_best(self, scores: Scores, metric: str, higher_is_better: bool) -> bool:
        """Record the scores of the current weights; returns whether they are the best so far.

        Of equal scores, the one with the lower loss is better. A score or loss that is not finite
        is never the best.
        """
        score, loss = scores.get(metric, math.nan), scores.get("loss", math.nan)
        rank = [score if higher_is_better else -score, -loss]
        is_finite = all(map(math.isfinite, rank))
        is_best = is_finite and (self.best_rank is None or rank > self.best_rank)
        if is_best:
            self.best_step, self.best_rank = self.step, rank
        self.validations_without_improvement = (
            0 if is_best else self.validations_without_improvement + 1
        )
        return is_best


class ReproducibilityKey(BaseModel):
    """Everything that must be equal for a resumed run to be bit-identical to an unstopped one."""

    device: str
    mixed_precision: Literal["no", "bf16", "fp16"]
    float32_matmul_precision: Literal["highest", "high", "medium"]
    deterministic: bool = Field(default_factory=lambda earlier: earlier["device"] == "cpu")
    """Whether the run adds in a fixed order: on a CPU always. Earlier versions did not on a GPU."""
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

    progress: TrainingProgress
    recipe: Recipe
    reproducibility_key: ReproducibilityKey = Field(
        validation_alias=AliasChoices("reproducibility_key", "facts")  # its earlier name
    )
    decided: dict[str, Value] = {}
    """Values of the keys that the recipe left to the run."""
    dropout_version: int = 1
    """The DROPOUT_VERSION that wrote it; checkpoints of earlier versions do not say."""

    @field_validator("recipe", mode="before")
    @classmethod
    def _upgrade_recipe(cls, recipe: Any) -> Any:
        return upgrade_recipe(recipe) if isinstance(recipe, dict) else recipe

    @field_validator("progress", mode="before")
    @classmethod
    def _upgrade_progress(cls, progress: Any) -> Any:
        if not isinstance(progress, dict):
            return progress
        progress = {MOVED_PROGRESS.get(key, key): value for key, value in progress.items()}
        progress.setdefault("num_tokens", None)
        if "is_validated" in progress:
            progress["validation_pending"] = progress.pop("is_validated") is False
        return progress


def reproducibility_key(record: RunRecord) -> ReproducibilityKey:
    """The key of a run in this process."""
    return ReproducibilityKey(
        device=record.device,
        mixed_precision=record.mixed_precision,
        float32_matmul_precision=record.float32_matmul_precision,
        deterministic=record.deterministic,
        num_processes=record.num_processes,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        model={"sha256": record.model.sha256},
        data={split: {"tokens_sha256": rows.tokens_sha256} for split, rows in record.data.items()},
    )
