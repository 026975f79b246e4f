"""A request to complete a prompt, and its completion as a growing sequence."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.constants import IGNORE_INDEX
from llmkit.generation.constraint import Constraint
from llmkit.generation.text_stream import TextStream

FinishReason = Literal["stop", "length", "cancelled"]
# Settings that do not affect the choice of tokens: they end or repeat a completion.
NOT_DECODING = {"max_new_tokens", "num_return_sequences", "stop"}


@dataclass(frozen=True)
class Request:
    """A prompt to complete."""

    prompt: list[int]
    """Token ids."""
    generation: Generation
    """Decoding settings."""
    key: tuple[int, ...] = (0,)
    """Seed sequence for sampling; the samples depend on nothing else."""
    row_labels: list[int] | None = None
    """Labels of an encoded row: of the prompt followed by the expected completion, all of whose
    tokens are supervised. If given, reading the prompt computes the loss of each supervised
    token."""

    @property
    def expected(self) -> list[int]:
        """Token ids of the expected completion; empty without `row_labels`."""
        return self.row_labels[len(self.prompt) :] if self.row_labels else []

    @property
    def max_completion(self) -> int:
        """Maximum number of tokens that follow the prompt, generated or expected."""
        return max(self.generation.max_new_tokens, len(self.expected))


class Sequence:
    """A request and its completion so far."""

    def __init__(self, request: Request, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises ConstraintError for a constraint that is invalid or cannot be met."""
        generation = request.generation
        self.request = request
        self.token_ids: list[int] = []
        """Generated tokens, without end-of-text."""
        self.finish_reason: FinishReason | None = None
        """`stop` after end-of-text, a stop string or a completed constraint; `length` if the text
        was truncated; `cancelled` after Engine.cancel; None while the sequence is running."""
        self.decoding = generation.model_dump_json(exclude=NOT_DECODING)
        """The decoding settings that determine how tokens are chosen, as a dictionary key."""
        self.num_cached = 0
        """Number of tokens, of prompt and completion, whose keys and values are cached."""
        self.targets = {
            position: label
            for position, label in enumerate(request.row_labels or [])
            if position > 0 and label != IGNORE_INDEX
        }
        """The supervised tokens of `request.row_labels` by position."""
        self.nats: np.ndarray | None = None
        """(num_supervised,), float32: the loss of each target, once the prompt has been read."""
        self.constraint = Constraint(generation, tokenizer) if generation.constraint else None
        self._stream = TextStream(tokenizer, generation.stop)
        self._draws: np.ndarray | None = None

    @property
    def text(self) -> str:
        """The text generated so far, without stop strings. It only ever grows."""
        text = self._stream.text
        if self.constraint is not None and self.constraint.may_begin_with_space:
            return text.removeprefix(" ")
        return text

    @property
    def num_tokens(self) -> int:
        """Number of tokens of the prompt and the completion so far."""
        return len(self.request.prompt) + len(self.token_ids)

    @property
    def is_to_be_scored(self) -> bool:
        """Whether the expected completion is to be read together with the prompt, for its loss."""
        return bool(self.targets) and self.nats is None

    @property
    def unread(self) -> list[int]:
        """The tokens, of prompt and completion, that the model has not processed yet; while the row
        is to be scored, those of the expected completion but the last, which predicts nothing."""
        prompt = self.request.prompt
        if self.is_to_be_scored:
            return prompt[self.num_cached :] + self.request.expected[:-1]
        if self.num_cached < len(prompt):
            return prompt[self.num_cached :] + self.token_ids
        return self.token_ids[self.num_cached - len(prompt) :]

    @property
    def used(self) -> list[int]:
        """The positions from whose hidden states the model predicts: the last one and, while the
        row is to be scored, those before supervised tokens, which include it."""
        if self.is_to_be_scored:
            return [position - 1 for position in self.targets]
        return [self.num_tokens - 1]

    @property
    def draw(self) -> float:
        """The random number, uniform in [0, 1), that selects the next token."""
        if self._draws is None:
            rng = np.random.default_rng(self.request.key)
            self._draws = rng.random(self.request.generation.max_new_tokens)
        return self._draws[len(self.token_ids)]

    def push(self, token: int, eos_token_id: int) -> None:
        """Append a token, and finish the sequence if it ends with it."""
        generation, constraint = self.request.generation, self.constraint
        if token == eos_token_id:
            has_failed = constraint is not None and constraint.has_failed
            return self.finish("length" if has_failed else "stop")
        self.token_ids.append(token)
        self._stream.push(token)
        if constraint is not None:
            constraint.accept(token)
        if self._stream.is_stopped or (constraint is not None and constraint.is_finished):
            return self.finish("stop")
        if len(self.token_ids) == generation.max_new_tokens:
            return self.finish("length")
        return None

    def finish(self, reason: FinishReason) -> None:
        """Finish the sequence; its text is final from then on."""
        self._stream.finish()
        self.finish_reason = "stop" if self._stream.is_stopped else reason
