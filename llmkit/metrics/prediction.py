"""A prediction: what a system answers to a row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The answer of a model, a baseline or any other system to one row."""

    text: str
    """The answer itself; for classification the chosen label."""
    probabilities: dict[str, float] | None = None
    """Classification: the probability of each label, where the system gives them."""
    votes: list[str] | None = None
    """Several sampled answers to the same row, where the system gives more than one."""
