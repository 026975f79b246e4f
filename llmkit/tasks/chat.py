"""Conversation: what was said so far in, the next answer out; earlier answers are supervised too.

    {"id": "7", "messages": [{"role": "system", "content": "Be brief."},
                             {"role": "user", "content": "Who keeps a goat?"},
                             {"role": "assistant", "content": "Mara."}]}

GPT-2 has no marks for turns, so plain text serves: `User:` and `Assistant:` on lines of their own,
and an end-of-text after each answer. The loss is on the answers and their end-of-text. An answer
with `"weight": 0` is context only, and a conversation is read up to its last supervised answer.
When a conversation is too long, its oldest turns are left out. `messages` may begin with one by
the system (or developer); then user and assistant take turns, and the assistant has the last word.
ShareGPT's messages (`from`, `value`) are read as well.
"""

from dataclasses import replace
from typing import Any

from llmkit.tasks.base import Segment, Task
from llmkit.tasks.conversation import Message, answered, read_conversation

# Renders the prompts of `read_messages` and `ask` for apply_chat_template.
CHAT_TEMPLATE = (
    "{%- set ns = namespace(is_first=true) -%}"
    "{%- for message in messages -%}"
    "{%- if message.role in ('system', 'developer') -%}{{ message.content | trim }}"
    "{%- set ns.is_first = not (message.content | trim) -%}"
    "{%- elif message.role == 'user' -%}"
    "{{ '' if ns.is_first else '\\n' }}User:"
    "{{ ' ' + message.content | trim if message.content | trim else '' }}{{ '\\nAssistant:' }}"
    "{%- set ns.is_first = false -%}"
    "{%- else -%}"
    "{{ ' ' + message.content | trim if message.content | trim else '' }}{{ eos_token }}"
    "{%- endif -%}{%- endfor -%}"
)


def read_messages(messages: Any) -> tuple[list[Segment], str, tuple[str, ...]]:
    """The prompt, with supervised earlier answers in it, the last supervised answer, and the names
    of message fields that are not read.

    Raises ValueError where the messages are not a conversation that ends with an answer.
    """
    conversation, ignored = read_conversation(messages)
    *earlier, last = answered(conversation)
    return _segments(earlier), last.content, ignored


def read_prompt(messages: Any) -> list[Segment]:
    """The prompt of a conversation: up to the user's last message, whose answer is left out.

    Raises ValueError for messages that are not a conversation.
    """
    conversation, _ = read_conversation(messages)
    return _segments(conversation if conversation[-1].role == "user" else conversation[:-1])


def _segments(conversation: list[Message]) -> list[Segment]:
    """A conversation that ends with the user; an empty message leaves no more than its cue."""
    system = [m.content.strip() for m in conversation if m.role == "system" and m.content.strip()]
    turns = [m for m in conversation if m.role != "system"]
    segments = [Segment(text, is_from_row=True) for text in system]
    for number, (asked, said) in enumerate(zip(turns[:-1:2], turns[1::2], strict=True)):
        segments += _question(asked.content, is_first=not segments, turn=number)
        answer = _spaced(said.content)
        is_supervised = said.is_supervised and bool(answer)
        segments.append(
            Segment(
                answer, is_from_row=True, ends_turn=True, is_supervised=is_supervised, turn=number
            )
        )
    return segments + ask(turns[-1].content, is_first=not segments)


def ask(text: str, is_first: bool = True) -> list[Segment]:
    """The question to be answered now, the first of a conversation or a later one."""
    opening, asked, closing = _question(text, is_first)
    return [opening, replace(asked, is_truncatable=True), closing]


def _question(content: str, is_first: bool, turn: int | None = None) -> list[Segment]:
    """The mark in front of a user's message, the message, and the cue that follows it."""
    return [
        Segment("User:" if is_first else "\nUser:", turn=turn),
        Segment(_spaced(content), is_from_row=True, turn=turn),
        Segment("\nAssistant:", turn=turn),
    ]


def _spaced(content: str) -> str:
    text = content.strip()
    return f" {text}" if text else ""


TASK = Task(
    name="chat",
    inputs=(),
    target="messages",
    truncatable_input="messages",
    template="",
    scores={"f1": True, "exact_match": True, "rougeL": True},
    metrics=("squad", "rouge"),
    parse_messages=read_messages,
    read_prompt=read_prompt,
    prompt_from_text=ask,
    shapes=("conversation", "pair"),
    chat_template=CHAT_TEMPLATE,
)
