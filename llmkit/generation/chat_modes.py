"""Chat modes: a message is a turn of a conversation, an independent input, or a text to continue.

The mode follows from the training rows of the task. Rows of chat are conversations, so a message is
a turn. Rows of tasks with a template, including instruct, are an input with its answer, so each
message is an independent input. Rows of pretrain are texts, so a message is the beginning of one.
`llmkit chat`, the server and the chat page all use this module.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from llmkit.data.encode import encode_text
from llmkit.errors import UserError, count_of
from llmkit.generation.conversation import Conversation
from llmkit.generation.prompts import EncodedPrompt, Prompt, PromptReader
from llmkit.generation.session import GenerationSession
from llmkit.io.safe_json import to_json
from llmkit.tasks import Segment, Task, is_blank
from llmkit.tasks.conversation import Message


class ChatMode(Protocol):
    """Turns messages into prompts and keeps the history."""

    introduction: str
    """Notice to show before the first message; may be empty."""
    has_history: bool
    """Whether later prompts contain earlier messages and answers."""

    def encode(self, text: str) -> EncodedPrompt:
        """Build and encode the prompt for a message. Raises UserError if it does not fit."""

    def notes(self) -> list[str]:
        """Notices about the prompt that was encoded last, such as dropped turns."""

    def record(self, text: str, answer: str) -> None:
        """Add a message and its answer, as generated, to the history."""

    def reset(self) -> None:
        """Clear the history."""

    def rows(self) -> list[dict[str, Any]]:
        """The history as rows of a data set."""


def message_kind(task: Task) -> Literal["turn", "input", "text"]:
    """How a task reads a message: as a turn, an independent input, or a text to continue."""
    if task.output == "text":
        return "text"
    return "input" if task.chat is None else "turn"


def chat_mode_for(session: GenerationSession, system: str = "") -> ChatMode:
    """The chat mode for the task of the model.

    system: System prompt; empty for none.

    Raises ValueError if there is a system prompt but the task takes none, and UserError if the
    context has no room for a message.
    """
    reader, kind = session.reader(is_raw=False), message_kind(session.task)
    if system.strip() and not reader.accepts_system_prompt:
        name = "a plain language model" if kind == "text" else session.task.name
        raise ValueError(f"{name} takes no system prompt")
    if kind == "text":
        return TextMode(session)
    if kind == "turn":
        return ConversationMode(session, system)
    return InputMode(session, reader, system)


def encode_messages(messages: Sequence[Message], session: GenerationSession) -> EncodedPrompt:
    """Build and encode the prompt of a conversation as `llmkit chat` does.

    messages: Ends with a user message.

    Raises ValueError for a blank last message, which `llmkit chat` skips, and for a system prompt
    if the task takes none; UserError if the last message does not fit into the context.
    """
    system = messages[0].content if messages[0].role == "system" else ""
    *earlier, last = (message for message in messages if message.role != "system")
    if is_blank(last.content):
        raise ValueError("the last message is blank; send at least one visible character")
    mode = chat_mode_for(session, system)
    for question, answer in zip(earlier[::2], earlier[1::2], strict=True):
        mode.record(question.content, answer.content)
    return mode.encode(last.content)


class ConversationMode:
    """Each message is a turn; the prompt contains as many earlier turns as fit."""

    has_history = True

    def __init__(self, session: GenerationSession, system: str) -> None:
        self.session = session
        self.conversation = Conversation(session.task, system.strip())
        self.max_tokens = session.data.max_length - session.max_new_tokens
        self.num_dropped, self.dropped_now = 0, 0
        if not self.conversation.max_question_tokens(session.tokenizer, self.max_tokens):
            raise UserError(
                f"no room for a message: data.max_length is {session.data.max_length} tokens, of "
                f"which up to {session.max_new_tokens} are for the answer; shorten the system "
                f"prompt or lower {session.limit_name}"
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
        max_length = f"{self.session.data.max_length:,}"
        return [f"dropped the oldest {turns} to fit data.max_length of {max_length} tokens"]

    def record(self, text: str, answer: str) -> None:
        self.conversation.turns.append((text.strip(), answer.strip()))

    def reset(self) -> None:
        self.conversation.turns.clear()
        self.num_dropped = 0

    def rows(self) -> list[dict[str, Any]]:
        return [{"messages": self.conversation.messages}] if self.conversation.turns else []


class TextMode:
    """Each message begins a new text; an empty message continues the last one."""

    has_history = True
    introduction = "plain language model: it continues your text rather than answering questions"

    def __init__(self, session: GenerationSession) -> None:
        self.session = session
        self.max_tokens = session.model.config.max_position_embeddings - session.max_new_tokens
        self.text = ""
        self.texts: list[dict[str, str]] = []
        if self.max_tokens < 1:
            raise UserError(
                f"{session.limit_name}: {session.max_new_tokens} leaves no room for a prompt in "
                f"the model's {session.model.config.max_position_embeddings} positions; lower it"
            )

    def encode(self, text: str) -> EncodedPrompt:
        (ids,) = encode_text([text or self.text], self.session.tokenizer)
        if text and len(ids) > self.max_tokens:
            raise UserError(
                f"the text has {count_of(len(ids), 'token')}, but only {self.max_tokens:,} fit; "
                "shorten it"
            )
        return EncodedPrompt(_prompt(text), ids[-self.max_tokens :], is_truncated=False)

    def notes(self) -> list[str]:
        return []

    def record(self, text: str, answer: str) -> None:
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
    """Each message is an independent input of the task."""

    has_history = False

    def __init__(self, session: GenerationSession, reader: PromptReader, system: str) -> None:
        self.session, self.reader, self.system = session, reader, system.strip()
        self.answers: list[dict[str, str]] = []
        self.is_truncated = False
        template = to_json(session.task.template, ensure_ascii=False)
        how = (
            f"each message is one input for the template {template}"
            if self.reader.fills_template
            else f"each message is a complete prompt with all inputs of the template {template}"
        )
        self.introduction = f"{session.task.name}: {how}; earlier messages are ignored"

    def encode(self, text: str) -> EncodedPrompt:
        prompt = self.reader.build_prompt(text, "0", "the message", self.system)
        (encoded,) = self.session.encode([prompt])
        if isinstance(encoded, UserError):
            raise encoded
        self.is_truncated = encoded.is_truncated
        return encoded

    def notes(self) -> list[str]:
        if not self.is_truncated:
            return []
        return [f"truncated to fit {self.session.data.max_length:,} tokens, as in training"]

    def record(self, text: str, answer: str) -> None:
        system = {"system": self.system} if self.system else {}
        self.answers.append({**system, "prompt": text, "completion": answer.strip()})

    def reset(self) -> None:
        self.answers.clear()

    def rows(self) -> list[dict[str, Any]]:
        return self.answers


def _prompt(text: str) -> Prompt:
    return Prompt("0", "the message", [Segment(text)], {})
