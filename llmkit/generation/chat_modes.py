"""What a message means to a model: a turn of a conversation, a text to continue, or an input.

The rows that the model was trained on decide. Rows of chat hold conversations, so a message is a
turn. Rows of tasks with a template hold one input and its answer, those of instruct too, so each
message is an input by itself. Rows of pretrain are texts, so a message is the beginning of one.
`llmkit chat`, the server and its page all ask here.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from llmkit.data.encode import encode_text
from llmkit.errors import UserError, count_of
from llmkit.generation.conversation import Conversation
from llmkit.generation.prompts import EncodedPrompt, Prompt, PromptReader
from llmkit.generation.session import GenerationSession
from llmkit.tasks import Segment, Task, is_blank
from llmkit.tasks.conversation import Message


class ChatMode(Protocol):
    """How messages become prompts, and what is kept of them."""

    introduction: str
    """What a person should know before the first message; empty if that is nothing."""
    is_kept: bool
    """Whether answers are part of later prompts."""

    def encode(self, text: str) -> EncodedPrompt:
        """The prompt that a message becomes. Raises UserError if it does not fit."""

    def notes(self) -> list[str]:
        """What became of the prompt that was encoded last."""

    def keep(self, text: str, answer: str) -> None:
        """Take note of an answer, as generated."""

    def reset(self) -> None:
        """Forget everything."""

    def rows(self) -> list[dict[str, Any]]:
        """What was said, as rows of a data set."""


def message_kind(task: Task) -> Literal["turn", "input", "text"]:
    """What a message is to a model of a task."""
    if task.output == "text":
        return "text"
    return "input" if task.chat is None else "turn"


def choose_mode(session: GenerationSession, system: str = "") -> ChatMode:
    """The mode that fits the task of the model.

    system: The system prompt. Raises ValueError if the task has no place for one.
    """
    reader, kind = session.reader(is_raw=False), message_kind(session.task)
    if system.strip() and not reader.takes_system_prompt:
        name = "a plain language model" if kind == "text" else session.task.name
        raise ValueError(f"{name} has no place for a system prompt")
    if kind == "text":
        return TextMode(session)
    if kind == "turn":
        return ConversationMode(session, system)
    return InputMode(session, reader, system)


def encode_messages(messages: Sequence[Message], session: GenerationSession) -> EncodedPrompt:
    """The prompt of a conversation, which ends with the user's message, as in a chat.

    Raises ValueError for a system prompt that the task has no place for and for a blank input, and
    UserError if the last message does not fit.
    """
    system = messages[0].content if messages[0].role == "system" else ""
    *earlier, last = (message for message in messages if message.role != "system")
    if message_kind(session.task) == "input" and is_blank(last.content):
        raise ValueError("the last message is empty; give it at least one character")
    mode = choose_mode(session, system)
    for question, answer in zip(earlier[::2], earlier[1::2], strict=True):
        mode.keep(question.content, answer.content)
    return mode.encode(last.content)


class ConversationMode:
    """Each message is a turn, and the prompt holds as many earlier turns as fit."""

    is_kept = True

    def __init__(self, session: GenerationSession, system: str) -> None:
        self.session = session
        self.conversation = Conversation(session.task, system.strip())
        self.max_tokens = session.data.max_length - session.max_new_tokens
        self.num_dropped, self.dropped_now = 0, 0
        if not self.conversation.room_for_question(session.tokenizer, self.max_tokens):
            raise UserError(
                f"no room for a message: data.max_length is {session.data.max_length} tokens, up "
                f"to {session.max_new_tokens} of them for the answer; shorten the system prompt or "
                "lower max_new_tokens"
            )
        self.introduction = ""

    def encode(self, text: str) -> EncodedPrompt:
        fitted = self.conversation.fit(text, self.session.tokenizer, self.max_tokens)
        self.dropped_now = fitted.num_dropped
        return EncodedPrompt(_prompt(text), fitted.ids, is_truncated=fitted.num_dropped > 0)

    def notes(self) -> list[str]:
        num_new, self.num_dropped = self.dropped_now - self.num_dropped, self.dropped_now
        if num_new <= 0:
            return []
        turns = "turn" if self.num_dropped == 1 else f"{self.num_dropped:,} turns"
        return [f"the oldest {turns} left the context of {self.session.data.max_length:,} tokens"]

    def keep(self, text: str, answer: str) -> None:
        self.conversation.turns.append((text.strip(), answer.strip()))

    def reset(self) -> None:
        self.conversation.turns.clear()
        self.num_dropped = 0

    def rows(self) -> list[dict[str, Any]]:
        return [{"messages": self.conversation.messages}] if self.conversation.turns else []


class TextMode:
    """Each message is the beginning of a text; an empty one continues the last text."""

    is_kept = True
    introduction = (
        "a plain language model: it continues a text and answers no questions; an empty line "
        "continues the last text"
    )

    def __init__(self, session: GenerationSession) -> None:
        self.session = session
        self.max_tokens = session.model.config.max_position_embeddings - session.max_new_tokens
        self.text = ""
        self.texts: list[dict[str, str]] = []
        if self.max_tokens < 1:
            raise UserError(
                f"--max-new-tokens: {session.max_new_tokens} leaves no room for a text within the "
                f"model's {session.model.config.max_position_embeddings} positions; lower it"
            )

    def encode(self, text: str) -> EncodedPrompt:
        (ids,) = encode_text([text or self.text], self.session.tokenizer)
        if text and len(ids) > self.max_tokens:
            raise UserError(
                f"the text has {count_of(len(ids), 'token')}, and {self.max_tokens:,} fit; "
                "shorten it"
            )
        return EncodedPrompt(_prompt(text), ids[-self.max_tokens :], is_truncated=False)

    def notes(self) -> list[str]:
        return []

    def keep(self, text: str, answer: str) -> None:
        if text:
            self.texts.append({})
        self.text = (text or self.text) + answer
        self.texts[-1] = {"text": self.text}

    def reset(self) -> None:
        self.text = ""
        self.texts.clear()

    def rows(self) -> list[dict[str, Any]]:
        return self.texts


class InputMode:
    """Each message is an input of the task by itself."""

    is_kept = False

    def __init__(self, session: GenerationSession, reader: PromptReader, system: str) -> None:
        self.session, self.reader, self.system = session, reader, system.strip()
        self.answers: list[dict[str, str]] = []
        self.is_truncated = False
        template = json.dumps(session.task.template, ensure_ascii=False)
        how = (
            f"each message is one input, in the template {template}"
            if self.reader.fills_template
            else f"each message is a whole prompt, with all inputs, as in {template}"
        )
        self.introduction = f"{session.task.name}: {how}; earlier ones are not read"

    def encode(self, text: str) -> EncodedPrompt:
        prompt = self.reader.typed_prompt(text, "0", "the message", self.system)
        (encoded,) = self.session.encode([prompt])
        if isinstance(encoded, UserError):
            raise encoded
        self.is_truncated = encoded.is_truncated
        return encoded

    def notes(self) -> list[str]:
        if not self.is_truncated:
            return []
        return [f"truncated to fit {self.session.data.max_length:,} tokens, as in training"]

    def keep(self, text: str, answer: str) -> None:
        system = {"system": self.system} if self.system else {}
        self.answers.append({**system, "prompt": text, "completion": answer.strip()})

    def reset(self) -> None:
        self.answers.clear()

    def rows(self) -> list[dict[str, Any]]:
        return self.answers


def _prompt(text: str) -> Prompt:
    return Prompt("0", "the message", [Segment(text)], {})
