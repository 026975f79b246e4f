"""Predict the time of the optimizer steps of a run from the first few, and measure it."""

import math
import statistics
from dataclasses import dataclass, field

NUM_FIRST, SHARE_FIRST = 8, 0.03  # steps to predict from: at least this number and share
NUM_PREDICTED = 2  # predict only if the run has this many times more steps than are timed


@dataclass
class Pace:
    """Time of the optimizer steps in this process, without validations and checkpoints."""

    seconds: float = 0.0
    num_steps: int = 0
    rates: list[float] = field(default_factory=list)
    """Seconds per token of each step before the prediction, except the first, which allocates
    memory."""
    predicted: float | None = None
    """Predicted seconds of all steps; set once after the first few steps."""

    def add(self, seconds: float, tokens: int) -> None:
        """Add the time of a step."""
        self.seconds += seconds
        if self.num_steps and self.predicted is None:
            self.rates.append(seconds / tokens)
        self.num_steps += 1

    def predict(self, num_steps: int, mean_tokens: float) -> bool:
        """Predict the seconds of all steps after the first few; returns whether this call made the
        prediction.

        It uses the median of the timed steps, since early steps may wait for memory or for other
        programs.

        Args:
            num_steps: Number of steps of the run in this process.
            mean_tokens: Mean number of tokens per step.
        """
        needed = max(NUM_FIRST, math.ceil(SHARE_FIRST * num_steps))
        if self.num_steps != needed or num_steps < NUM_PREDICTED * needed:
            return False
        rest = (num_steps - needed) * mean_tokens
        self.predicted = self.seconds + rest * statistics.median(self.rates)
        return True
