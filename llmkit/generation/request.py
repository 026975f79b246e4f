"""A request to complete a prompt, and the state of its completion."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from llmkit.config.generation import Generation

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Request:
    """A prompt to complete."""

    prompt: list[int]
    """Token ids."""
    generation: Generation
    """The decoding."""
    key: tuple[int, ...] = (0,)
    """Seed of the request's own random numbers, which do not depend on other requests."""


class Sequence:
    """A request's completion while it grows."""

    def __init__(self, request: Request, tokenizer: PreTrainedTokenizerBase) -> None:
        self.request = request
        self.token_ids: list[int] = []
        """Generated tokens, without end-of-text."""
        self.finish_reason: FinishReason | None = None
        """None while it runs; `stop` after end-of-text or a stop string, `length` after
        max_new_tokens, `cancelled` by Engine.cancel."""
        self.num_cached = 0
        """Tokens of the prompt and the completion whose keys and values are in the cache."""
        self._tokenizer = tokenizer
        self._draws: np.ndarray | None = None

    @property
    def text(self) -> str:
        """The text of the tokens generated so far."""
        return self._tokenizer.decode(
            self.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    @property
    def unread(self) -> list[int]:
        """The tokens that the model has not read yet."""
        prompt = self.request.prompt
        if self.num_cached < len(prompt):
            return prompt[self.num_cached :] + self.token_ids
        return self.token_ids[self.num_cached - len(prompt) :]

    @property
    def draw(self) -> float:
        """The random number, uniform in [0, 1), that selects the next token."""
        if self._draws is None:
            rng = np.random.default_rng(self.request.key)
            self._draws = rng.random(self.request.generation.max_new_tokens)
        return self._draws[len(self.token_ids)]

    def push(self, token: int, eos_token_id: int) -> None:
        """Append a token, and end the sequence if it is over."""
        if token == eos_token_id:
            self.finish_reason = "stop"
            return
        self.token_ids.append(token)
        if len(self.token_ids) == self.request.generation.max_new_tokens:
            self.finish_reason = "length"
