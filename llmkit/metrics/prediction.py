"""The answer of a system to one row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The answer of a model, a baseline or any other system to one row.

    Fields other than `text` have the names of their columns in predictions.jsonl; None where the
    system does not provide them.
    """

    text: str
    """The answer; for classification the predicted label."""
    probabilities: dict[str, float] | None = None
    """Classification: the probability of each label."""
    votes: list[str] | None = None
    """Several sampled answers to the same row."""
    ended: bool | None = None
    """Whether generation ended with end-of-text rather than at the maximum length."""
    expected_tokens: list[tuple[str, float | None]] | None = None
    """Each token of the reference, as text, and the probability that the model assigns to it."""
