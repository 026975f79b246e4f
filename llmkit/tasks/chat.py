"""Conversation: what was said so far in, the next answer out; every earlier answer is learnt too.

    {"id": "7", "messages": [{"role": "system", "content": "Be brief."},
                             {"role": "user", "content": "Who keeps a goat?"},
                             {"role": "assistant", "content": "Mara."}]}

GPT-2 has no marks for turns, so plain text serves: `User:` and `Assistant:` on lines of their own,
and an end-of-text behind each answer. Loss is on the answers alone, where each ends included. Of a
conversation that is too long the oldest turns are left out. `messages` may begin with one by the
system; then user and assistant take turns, and the assistant has the last word.
"""

from collections.abc import Mapping
from typing import Any

from llmkit.tasks.base import Segment, Task

# What `read_row` and `ask` make, for apply_chat_template.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{{ message.content | trim }}"
    "{%- elif message.role == 'user' -%}"
    "{{ '' if loop.first else '\\n' }}User: {{ message.content | trim }}{{ '\\nAssistant:' }}"
    "{%- else -%}{{ ' ' + message.content | trim + eos_token }}"
    "{%- endif -%}{%- endfor -%}"
)


def read_messages(messages: Any) -> tuple[list[Segment], str]:
    """The prompt, with earlier answers in it to be learnt, and the last answer."""
    check_messages(messages)
    system = [m for m in messages if m["role"] == "system"]
    turns = messages[len(system) :]
    segments = [Segment(message["content"].strip()) for message in system]
    for number, (asked, answered) in enumerate(zip(turns[:-2:2], turns[1:-2:2], strict=True)):
        opening = question(asked["content"], is_first=not segments)
        segments += [Segment(text, turn=number) for text in opening]
        answer = f" {answered['content'].strip()}"
        segments.append(Segment(answer, is_trained=True, turn=number))
    segments += ask(turns[-2]["content"], is_first=not segments)
    return segments, turns[-1]["content"]


def question(content: str, is_first: bool) -> tuple[str, str, str]:
    """The mark in front of what a user says, that, and the cue behind it."""
    return f"{'' if is_first else chr(10)}User:", f" {content.strip()}", "\nAssistant:"


def ask(text: str, is_first: bool = True) -> list[Segment]:
    """The question that is to be answered now, the first of a conversation or a later one."""
    opening, asked, closing = question(text, is_first)
    return [Segment(opening), Segment(asked, is_shortenable=True), Segment(closing)]


def check_messages(messages: Any) -> None:
    """Raise ValueError for what is no conversation with an answer at its end."""
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise ValueError("must be a list of messages, each with role and content")
    for number, message in enumerate(messages, 1):
        if not isinstance(message.get("content"), str):
            raise ValueError(f"message {number} has no text in `content`")
    roles = [message.get("role") for message in messages]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        shown = ", ".join(map(str, roles[:8])) or "nothing"
        raise ValueError(
            "must be by user and assistant in turn, one by the system before them if there is one, "
            f"the last by the assistant; here they are by {shown}"
        )


TASK = Task(
    name="chat",
    inputs=(),
    target="messages",
    long_input="messages",
    template="",
    scores={"f1": True, "exact_match": True, "rougeL": True},
    metrics=("squad", "rouge"),
    read_row=read_messages,
    ask=ask,
    chat_template=CHAT_TEMPLATE,
)
