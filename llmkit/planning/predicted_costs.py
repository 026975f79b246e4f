"""Predicted time, memory and disk space of a run, by part."""

from dataclasses import dataclass, field
from typing import Any

MEASURED = "measured here"
# Parts of the time of a run.
PREPARATION = "preparation"
STEPS, VALIDATIONS, CHECKPOINTS = "optimizer steps", "validations", "checkpoints"
FINAL_SCORES, STATISTICS = "final scores", "statistics"
SHARED = (STEPS, VALIDATIONS, FINAL_SCORES)  # parts that several devices share


@dataclass(frozen=True)
class PredictedCosts:
    """Predicted costs of the recipe as written, without early stopping."""

    basis: str
    """Source of the seconds: MEASURED or `estimated for DEVICE`."""
    seconds: dict[str, float]
    """Seconds by part, in the order of the run."""
    memory: dict[str, int]
    """Peak memory in bytes, by part."""
    disk: dict[str, int]
    """Disk space of the finished run in bytes, by part."""
    num_steps: int
    num_validations: int
    num_checkpoints: int
    notes: list[str] = field(default_factory=list)
    """Assumptions of the prediction."""

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def peak_bytes(self) -> int:
        return sum(self.memory.values())

    @property
    def disk_bytes(self) -> int:
        return sum(self.disk.values())

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "basis": self.basis,
            "total_seconds": round(self.total_seconds, 2),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "peak_bytes": self.peak_bytes,
            "memory": self.memory,
            "disk_bytes": self.disk_bytes,
            "disk": self.disk,
            "num_steps": self.num_steps,
            "num_validations": self.num_validations,
            "num_checkpoints": self.num_checkpoints,
            "notes": self.notes,
        }


def count_validations(num_steps: int, every: int) -> int:
    """Number of validations without early stopping: one every `every` steps and one at the end."""
    return -(-num_steps // every)


def count_checkpoints(
    num_steps: int, num_validations: int, every: int | None, minutes: float | None, seconds: float
) -> int:
    """Approximate number of checkpoints that a run writes, including one after each validation.

    Args:
        every: The recipe's checkpoint.every.
        minutes: The recipe's checkpoint.minutes.
        seconds: Duration of the training.
    """
    number = num_validations + (num_steps // every if every else 0)
    if minutes is None:
        return number
    between = seconds / number  # longer intervals contain further checkpoints
    return number * max(1, 1 + int(between // (60 * minutes)))
