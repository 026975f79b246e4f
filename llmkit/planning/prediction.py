"""What a run will take: the prediction of its time, memory and disk, by part."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """What a recipe takes as it is written, at its full length."""

    basis: str
    """Where the seconds come from: measured here, or reckoned for a device."""
    seconds: dict[str, float]
    """By part, in the order of the run."""
    memory: dict[str, int]
    """Bytes at the peak, by what takes them."""
    disk: dict[str, int]
    """Bytes that stay on the disk, by what takes them."""
    num_steps: int
    num_validations: int
    num_checkpoints: int
    notes: list[str] = field(default_factory=list)
    """What the prediction assumes."""

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
    """Validations of a run that is not stopped early: after each `every` steps and the last."""
    return -(-num_steps // every)


def count_checkpoints(
    num_steps: int, num_validations: int, every: int | None, minutes: float | None, seconds: float
) -> int:
    """About how many checkpoints a run writes.

    Args:
        every: The recipe's checkpoint.every; if it gives none, each validation is followed by one.
        minutes: The recipe's checkpoint.minutes.
        seconds: Duration of the training.
    """
    number = num_validations + (num_steps // every if every else 0)
    if minutes is None:
        return number
    between = seconds / number  # further ones are written in longer intervals
    return number * max(1, 1 + int(between // (60 * minutes)))
