"""The result of `llmkit plan`."""

from dataclasses import dataclass, field
from typing import Any

from llmkit.constants import SCRATCH
from llmkit.planning.predicted_costs import PredictedCosts
from llmkit.planning.proposals import Proposal
from llmkit.planning.scaling_law import Trial


@dataclass(frozen=True)
class CurvePoint:
    """Expected loss of a run of this length, with its interval."""

    num_steps: int
    seconds: float
    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class Plan:
    """Predicted costs of a recipe, and proposals for a budget."""

    task: str
    model: str
    prediction: PredictedCosts
    budget: float | None
    """Time budget in seconds."""
    memory: int | None
    """Memory budget in bytes."""
    fits: bool = True
    """Whether the recipe as written fits the time and memory budget."""
    proposals: list[Proposal] = field(default_factory=list)
    """Proposals that fit, best first."""
    fastest: Proposal | None = None
    """The fastest variant that fits into memory; set only if there are no proposals."""
    least_memory: Proposal | None = None
    """The variant that needs the least memory; set only if there are no proposals."""
    num_devices: int | None = None
    """Approximate number of devices on which the recipe as written would fit the time budget; set
    only if one is too slow."""
    trials: list[Trial] = field(default_factory=list)
    loss: tuple[float, float, float] | None = None
    """(low, expected, high) loss of the recipe as written, forecast from the trials."""
    curve: list[CurvePoint] = field(default_factory=list)
    """Loss by run length; without trials, the difference from the recipe as written."""

    @property
    def has_loss(self) -> bool:
        """Whether the plan predicts a loss: from trials, or from the published scaling law, which
        applies only to training from random weights."""
        return bool(self.trials) or self.model == SCRATCH

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "task": self.task,
            "model": self.model,
            "prediction": self.prediction.as_dict(),
            "budget_seconds": self.budget,
            "memory_bytes": self.memory,
            "fits": self.fits,
            "proposals": [self._proposal_dict(proposal) for proposal in self.proposals],
            "fastest": self.fastest and self._proposal_dict(self.fastest),
            "least_memory": self.least_memory and self._proposal_dict(self.least_memory),
            "num_devices": self.num_devices,
            "trials": [vars(trial) for trial in self.trials],
            "loss": self.loss and dict(zip(("low", "expected", "high"), self.loss, strict=True)),
            "curve": [vars(point) for point in self.curve] if self.has_loss else [],
        }

    def _proposal_dict(self, proposal: Proposal) -> dict[str, Any]:
        """The JSON object of a proposal, without a loss if the plan predicts none."""
        content = proposal.as_dict()
        return content if self.has_loss else {**content, "loss": None}
