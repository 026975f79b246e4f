"""A conversation with a model: what was said, and the prompt that asks for the next answer."""

from dataclasses import dataclass, field
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from llmkit.data.encode import encode_segments, truncate_prompt
from llmkit.errors import UserError, count_of
from llmkit.tasks import Example, Segment, Task


class FittedPrompt(NamedTuple):
    """A prompt as the model reads it."""

    ids: list[int]
    num_dropped: int
    """Turns that do not fit any more."""


@dataclass
class Conversation:
    """The turns of a conversation with a model that was trained on conversations."""

    task: Task
    """A task with a chat format."""
    system: str = ""
    """The system prompt."""
    turns: list[tuple[str, str]] = field(default_factory=list)
    """Questions of the user with the model's answers, the oldest first."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation in the shape of a chat data set."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + [
            {"role": role, "content": content}
            for turn in self.turns
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]

    def segments(self, question: str) -> list[Segment]:
        """The prompt of the next answer, as in training."""
        return self.task.chat.parse_prompt([*self.messages, {"role": "user", "content": question}])

    def fit(
        self, question: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> FittedPrompt:
        """Token ids of the prompt, at most `max_tokens`: the oldest turns are dropped first.

        Raises UserError if the question does not fit without any earlier turn. It is never
        truncated, unlike in training.
        """
        segments = self.segments(question)
        ids = encode_prompt(segments, tokenizer)
        kept = truncate_prompt(segments, ids, max_tokens)
        if kept is None or is_source_truncated(segments, ids, kept):
            num_tokens = sum(len(t) for s, t in zip(segments, ids, strict=True) if s.is_truncatable)
            room = self.room_for_question(tokenizer, max_tokens)
            raise UserError(
                f"the message has {count_of(num_tokens, 'token')}, and {room:,} fit; shorten it"
            )
        turns = {segment.turn for segment in segments} - {None}
        kept_turns = {s.turn for s, tokens in zip(segments, kept, strict=True) if tokens}
        return FittedPrompt([i for tokens in kept for i in tokens], len(turns - kept_turns))

    def room_for_question(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> int:
        """How many of `max_tokens` a question may have: what the system prompt and the template
        leave."""
        alone = Conversation(self.task, self.system)
        return max(0, max_tokens - sum(map(len, encode_prompt(alone.segments(""), tokenizer))))


def encode_prompt(segments: list[Segment], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each segment of a prompt."""
    ((_, ids),) = encode_segments([Example("", segments, "", [])], tokenizer)
    return ids[:-1]


def is_source_truncated(
    segments: list[Segment], ids: list[list[int]], kept: list[list[int]]
) -> bool:
    return any(
        len(after) < len(before)
        for segment, before, after in zip(segments, ids, kept, strict=True)
        if segment.turn is None
    )
