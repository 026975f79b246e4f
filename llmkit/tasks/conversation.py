"""Conversations in the formats of data sets, read as messages of system, user and assistant.

    [{"role": "user", "content": "Who keeps a goat?"}, {"role": "assistant", "content": "Mara."}]
    [{"from": "human", "value": "Who keeps a goat?"}, {"from": "gpt", "value": "Mara."}]

The first format is OpenAI's, the second ShareGPT's. A plain-text prompt cannot hold tool calls or
images, so a conversation with them is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model"), "assistant"),
}
TOOL_ROLES = (
    "tool", "tool_call", "tool_calls", "tool_response", "tool_result", "function", "function_call",
    "function_response", "observation", "ipython",
)  # fmt: skip
TOOL_FIELDS = ("tool_calls", "tool_call_id", "function_call")


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    is_supervised: bool = True
    """Whether an answer is supervised; false if its `weight` is 0."""


def read_conversation(messages: Any) -> tuple[list[Message], tuple[str, ...]]:
    """The messages, and the names of their fields that are ignored.

    Raises ValueError, with a message for the user, unless the messages are a conversation: an
    optional system message, then user and assistant in turn.
    """
    if not isinstance(messages, Sequence) or not all(isinstance(m, Mapping) for m in messages):
        advice = "; save the data as jsonl or parquet" if isinstance(messages, str) else ""
        raise ValueError(f"must be a list of messages, each with role and content{advice}")
    conversation, ignored = [], {}
    for number, fields in enumerate(messages, 1):
        message, unread = _read_message(fields, number)
        conversation.append(message)
        ignored |= dict.fromkeys(unread)
    roles = [message.role for message in conversation]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or any(role != ("user", "assistant")[i % 2] for i, role in enumerate(spoken)):
        raise ValueError(
            "must alternate between user and assistant, after an optional system message; here the "
            f"roles are {_shown(roles)}"
        )
    return conversation, tuple(ignored)


def up_to_last_answer(conversation: list[Message]) -> list[Message]:
    """The conversation up to its last supervised answer.

    Raises ValueError if the last message is the user's, or if no answer is supervised.
    """
    if conversation[-1].role != "assistant":
        roles = [message.role for message in conversation]
        raise ValueError(
            f"must end with an answer by the assistant; here the roles are {_shown(roles)}"
        )
    is_answer = [m.role == "assistant" and m.is_supervised for m in conversation]
    if not any(is_answer):
        raise ValueError("has no supervised answer: every assistant message has weight 0")
    return conversation[: len(is_answer) - is_answer[::-1].index(True)]


def role_of(fields: Mapping[str, Any]) -> str | None:
    """`system`, `user` or `assistant`; None for any other sender."""
    return ROLES.get(str(fields.get(_field_names(fields)[0])).lower())


def _field_names(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Names of the fields that hold the sender and the text of a message."""
    return ("role", "content") if "role" in fields or "content" in fields else ("from", "value")


def _read_message(fields: Mapping[str, Any], number: int) -> tuple[Message, list[str]]:
    """Message `number` of a conversation, and the names of its ignored fields."""
    (sender_field, text_field), role = _field_names(fields), role_of(fields)
    sender = fields.get(sender_field)
    if str(sender).lower() in TOOL_ROLES or any(fields.get(name) for name in TOOL_FIELDS):
        raise ValueError(
            f"message {number} calls a tool or returns its result, which a plain-text prompt "
            "cannot hold; rewrite it as text"
        )
    if role is None:
        raise ValueError(
            f"message {number} has the {sender_field} {sender!r}; known are {', '.join(ROLES)}"
        )
    content = _read_content(fields.get(text_field), number, text_field)
    weight = fields.get("weight")
    if weight is not None and weight not in (0, 1):
        raise ValueError(f"message {number} has the weight {weight!r}; it must be 0 or 1")
    used = {sender_field, text_field}
    if role == "assistant" or not weight:
        used.add("weight")
    unread = [
        str(name)
        for name, value in fields.items()
        if name not in used and value is not None and value not in ("", [], {})
    ]
    return Message(role, content, is_supervised=weight is None or bool(weight)), unread


def _read_content(content: Any, number: int, field: str) -> str:
    """The text of a message, which may be a list of text parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or not content:
        raise ValueError(f"message {number} has no text in `{field}`")
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(
                f"message {number} has a content part of type {kind!r}; only parts of type 'text' "
                "can be read"
            )
    return "\n".join(part["text"] for part in content)


def _shown(roles: list[str]) -> str:
    return (", ".join(roles[:8]) or "nothing") + (" ..." if len(roles) > 8 else "")
