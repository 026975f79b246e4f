"""The result of `llmkit plan`."""

from dataclasses import dataclass, field
from typing import Any

from llmkit.planning.prediction import Prediction
from llmkit.planning.proposals import Proposal
from llmkit.planning.scaling_law import Trial


@dataclass(frozen=True)
class CurvePoint:
    """The loss to expect of a run of this length."""

    num_steps: int
    seconds: float
    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class Plan:
    """What a recipe takes, and what would serve a budget better."""

    task: str
    model: str
    prediction: Prediction
    budget: float | None
    """Seconds."""
    memory: int | None
    """Bytes."""
    fits: bool = True
    """Whether the recipe as it is written fits the budget of time and memory."""
    proposals: list[Proposal] = field(default_factory=list)
    """The best ones first."""
    quickest: Proposal | None = None
    lightest: Proposal | None = None
    """What would do, if nothing fits."""
    num_devices: int | None = None
    """About how many of the device keep the budget with what is quickest on one of them."""
    trials: list[Trial] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    """Loss over length; without trials, the difference from the recipe as it is written."""

    @property
    def has_loss(self) -> bool:
        """Whether a loss can be expected: with trials, or from random weights by the published law,
        which says nothing about models that were trained before."""
        return bool(self.trials) or self.model == "scratch"

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "task": self.task,
            "model": self.model,
            "prediction": self.prediction.as_dict(),
            "budget_seconds": self.budget,
            "memory_bytes": self.memory,
            "fits": self.fits,
            "proposals": [self._as_dict(proposal) for proposal in self.proposals],
            "quickest": self.quickest and self._as_dict(self.quickest),
            "lightest": self.lightest and self._as_dict(self.lightest),
            "num_devices": self.num_devices,
            "trials": [vars(trial) for trial in self.trials],
            "curve": [vars(point) for point in self.curve] if self.has_loss else [],
        }

    def _as_dict(self, proposal: Proposal) -> dict[str, Any]:
        content = proposal.as_dict()
        return content if self.has_loss else {**content, "loss": None}
