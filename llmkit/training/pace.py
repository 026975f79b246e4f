"""How long the optimizer steps of a run take: predicted from the first of them, then measured."""

import math
import statistics
from dataclasses import dataclass, field

NUM_FIRST, SHARE_FIRST = 8, 0.03  # steps that the prediction is made from: at least either
NUM_PREDICTED = 2  # times as many steps as it is made from are the fewest worth predicting


@dataclass
class Pace:
    """Seconds of the steps of this process, without validations and checkpoints."""

    seconds: float = 0.0
    num_steps: int = 0
    rates: list[float] = field(default_factory=list)
    """Seconds per token of each step until the prediction, without the first, in which memory is
    allocated."""
    predicted: float | None = None
    """Seconds of all steps, as predicted after the first few; never changed later."""

    def add(self, seconds: float, tokens: int) -> None:
        """A further step."""
        self.seconds += seconds
        if self.num_steps and self.predicted is None:
            self.rates.append(seconds / tokens)
        self.num_steps += 1

    def predict(self, num_steps: int, mean_tokens: float) -> bool:
        """Predict the seconds of all steps, once the first few are over; returns whether it has
        just been done. The median counts, as early steps may wait for memory, or for other
        programs.

        Args:
            num_steps: All steps of this process.
            mean_tokens: Their tokens, on average.
        """
        needed = max(NUM_FIRST, math.ceil(SHARE_FIRST * num_steps))
        if self.num_steps != needed or num_steps < NUM_PREDICTED * needed:
            return False
        rest = (num_steps - needed) * mean_tokens
        self.predicted = self.seconds + rest * statistics.median(self.rates)
        return True
