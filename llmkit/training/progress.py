"""How far a run has come: what it remembers from step to step, beside weights and moments."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from llmkit.tasks import Scores


@dataclass
class Progress:
    """Plain numbers, so that a checkpoint can hold them as JSON."""

    step: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps done."""
    is_validated: bool = True
    """Whether the validation that is due after that step has been made."""
    best_step: Annotated[int, Field(ge=0)] = 0
    """The step whose weights scored best; 0: none yet."""
    best_rank: list[float] | None = None
    """Its score, negative where lower is better, and its negative loss."""
    validations_without_improvement: int = 0
    """Validations since."""
    num_skipped_steps: int = 0
    """Steps left out since their loss or gradient was not finite."""
    num_updates: int = 0
    """Steps that changed the weights."""
    num_overflows: int = 0
    """Number of last steps in a row whose fp16 gradient overflowed."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Rows of a micro-batch, which decide what dropout draws."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the fp16 gradient's scaler."""

    def update_best(self, scores: Scores, metric: str, higher_is_better: bool) -> bool:
        """Whether these scores of the present weights are the best so far. Of equal ones the lower
        loss is better."""
        score, loss = scores.get(metric, math.nan), scores.get("loss", math.nan)
        rank = [score if higher_is_better else -score, -loss]
        is_finite = all(map(math.isfinite, rank))  # what is not is never the best
        is_best = is_finite and (self.best_rank is None or rank > self.best_rank)
        if is_best:
            self.best_step, self.best_rank = self.step, rank
        self.validations_without_improvement = (
            0 if is_best else self.validations_without_improvement + 1
        )
        return is_best
