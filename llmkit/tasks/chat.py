"""Chat: a conversation in, the assistant's next answer out; earlier answers are supervised too.

    {"id": "7", "messages": [{"role": "system", "content": "Be brief."},
                             {"role": "user", "content": "Who keeps a goat?"},
                             {"role": "assistant", "content": "Mara."}]}

GPT-2 has no special tokens for turns, so the prompt is plain text: `User:` and `Assistant:` on
lines of their own, and an end-of-text after each answer. The loss is on the answers and their
end-of-text. An answer with `"weight": 0` is context only, and a conversation is read up to its last
supervised answer. If a conversation is too long, its oldest turns are dropped. `messages` may start
with a system (or developer) message; then user and assistant alternate, and the assistant comes
last. ShareGPT's messages (`from`, `value`) are read as well.
"""

from dataclasses import replace
from typing import Any

from llmkit.tasks.base import ChatFormat, Segment, Task
from llmkit.tasks.conversation import Message, read_conversation, up_to_last_answer

# Renders the same prompts as the functions below.
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


OLLAMA_TEMPLATE = (
    '{{- range $index, $_ := .Messages }}{{- if eq .Role "system" }}{{ .Content }}'
    '{{- else if eq .Role "user" }}{{ if $index }}\n{{ end }}User: {{ .Content }}\nAssistant:'
    '{{- else if eq .Role "assistant" }} {{ .Content }}END{{- end }}{{- end }}'
)


def parse_messages(messages: Any) -> tuple[list[Segment], str, tuple[str, ...]]:
    """The prompt, which contains the earlier answers, the last supervised answer, and the names of
    ignored message fields.

    Raises ValueError unless the messages are a conversation that ends with an answer.
    """
    conversation, ignored = read_conversation(messages)
    *earlier, last = up_to_last_answer(conversation)
    return _segments(earlier), last.content, ignored


def parse_prompt(messages: Any) -> list[Segment]:
    """The prompt of a conversation: everything up to the user's last message.

    Raises ValueError unless the messages are a conversation.
    """
    conversation, _ = read_conversation(messages)
    return _segments(conversation if conversation[-1].role == "user" else conversation[:-1])


def _segments(conversation: list[Message]) -> list[Segment]:
    """The segments of a conversation that ends with the user; an empty message is only its cue."""
    system = [m.content.strip() for m in conversation if m.role == "system" and m.content.strip()]
    turns = [m for m in conversation if m.role != "system"]
    segments = [Segment(text, is_from_row=True) for text in system]
    for turn, (question, answer) in enumerate(zip(turns[:-1:2], turns[1::2], strict=True)):
        segments += _question_segments(question.content, is_first=not segments, turn=turn)
        text = _with_space(answer.content)
        segments.append(
            Segment(
                text,
                is_from_row=True,
                ends_turn=True,
                is_supervised=answer.is_supervised and bool(text),
                turn=turn,
            )
        )
    return segments + prompt_from_text(turns[-1].content, is_first=not segments)


def prompt_from_text(text: str, is_first: bool = True) -> list[Segment]:
    """The segments of the question that is to be answered.

    is_first: whether the conversation begins with it.
    """
    opening, question, cue = _question_segments(text, is_first)
    return [opening, replace(question, is_truncatable=True), cue]


def _question_segments(content: str, is_first: bool, turn: int | None = None) -> list[Segment]:
    """`User:`, the user's message, and the cue for the answer."""
    return [
        Segment("User:" if is_first else "\nUser:", turn=turn),
        Segment(_with_space(content), is_from_row=True, turn=turn),
        Segment("\nAssistant:", turn=turn),
    ]


def _with_space(content: str) -> str:
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
    chat=ChatFormat(parse_messages, parse_prompt, prompt_from_text, CHAT_TEMPLATE, OLLAMA_TEMPLATE),
    accepted_shapes=("conversation", "pair"),
)
