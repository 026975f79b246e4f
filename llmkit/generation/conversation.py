"""A conversation with a model: its turns, and the prompt for the next answer."""

from dataclasses import dataclass, field
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from llmkit.data.encode import encode_segments, truncate_prompt
from llmkit.errors import UserError, count_of
from llmkit.tasks import Example, Segment, Task


class FittedPrompt(NamedTuple):
    """The token ids of a prompt that fits the context."""

    ids: list[int]
    num_dropped: int
    """Number of oldest turns that were dropped because they do not fit."""


@dataclass
class Conversation:
    """The turns of a conversation with a model that was trained on conversations."""

    task: Task
    """A task with a chat format."""
    system: str = ""
    """The system prompt; empty for none."""
    turns: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of user message and answer, oldest first."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation as a list of messages, as in a chat data set."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + [
            {"role": role, "content": content}
            for turn in self.turns
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]

    def segments(self, question: str) -> list[Segment]:
        """The prompt for the next answer, built as in training."""
        return self.task.chat.parse_prompt([*self.messages, {"role": "user", "content": question}])

    def fit(
        self, question: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> FittedPrompt:
        """Token ids of the prompt, at most `max_tokens`; the oldest turns are dropped to fit.

        Raises UserError if the question alone does not fit: unlike in training, it is never
        truncated.
        """
        segments = self.segments(question)
        ids = encode_prompt(segments, tokenizer)
        kept = truncate_prompt(segments, ids, max_tokens)
        if kept is None or is_source_truncated(segments, ids, kept):
            num_tokens = sum(len(t) for s, t in zip(segments, ids, strict=True) if s.is_truncatable)
            room = self.max_question_tokens(tokenizer, max_tokens)
            raise UserError(
                f"the message has {count_of(num_tokens, 'token')}, but only {room:,} fit; "
                "shorten it"
            )
        turns = {segment.turn for segment in segments} - {None}
        kept_turns = {s.turn for s, tokens in zip(segments, kept, strict=True) if tokens}
        return FittedPrompt([i for tokens in kept for i in tokens], len(turns - kept_turns))

    def max_question_tokens(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> int:
        """Maximum length of a question, in tokens: `max_tokens` minus the system prompt and the
        template."""
        alone = Conversation(self.task, self.system)
        return max(0, max_tokens - sum(map(len, encode_prompt(alone.segments(""), tokenizer))))


def encode_prompt(segments: list[Segment], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each segment of a prompt."""
    ((_, ids),) = encode_segments([Example("", segments, "", [])], tokenizer)
    return ids[:-1]


def is_source_truncated(
    segments: list[Segment], ids: list[list[int]], kept: list[list[int]]
) -> bool:
    """Whether truncation removed tokens outside of the earlier turns."""
    return any(
        len(after) < len(before)
        for segment, before, after in zip(segments, ids, kept, strict=True)
        if segment.turn is None
    )
