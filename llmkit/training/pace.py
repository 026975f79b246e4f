"""How long the optimizer steps of a run take: predicted from the first of them, then measured."""

import math
from dataclasses import dataclass

NUM_FIRST, SHARE_FIRST = 5, 0.03  # steps that the prediction is made from: at least either
NUM_PREDICTED = 2  # times as many steps as it is made from are the fewest worth predicting


@dataclass
class Pace:
    """Seconds of the steps of this process, without validations and checkpoints."""

    seconds: float = 0.0
    tokens: int = 0
    num_steps: int = 0
    first_seconds: float = 0.0
    """Of the first step, in which memory is allocated."""
    first_tokens: int = 0
    predicted: float | None = None
    """Seconds of all steps, as predicted after the first few; never changed later."""

    def add(self, seconds: float, tokens: int) -> None:
        """A further step."""
        if not self.num_steps:
            self.first_seconds, self.first_tokens = seconds, tokens
        self.seconds += seconds
        self.tokens += tokens
        self.num_steps += 1

    def predict(self, num_steps: int, num_tokens: float) -> bool:
        """Predict the seconds of all steps, once the first few are over; returns whether it has
        just been done.

        Args:
            num_steps: All steps of this process.
            num_tokens: Their tokens.
        """
        needed = max(NUM_FIRST, math.ceil(SHARE_FIRST * num_steps))
        if self.num_steps != needed or num_steps < NUM_PREDICTED * needed:
            return False
        rate = (self.seconds - self.first_seconds) / (self.tokens - self.first_tokens)
        self.predicted = self.first_seconds + rate * (num_tokens - self.first_tokens)
        return True
