"""Shapes of instruction data, recognized by the columns of a row.

| shape | columns |
|---|---|
| Alpaca | instruction, input, output; also system and history, as LLaMA-Factory writes them |
| Dolly | instruction, context, response |
| prompt/completion | prompt, completion: texts, or lists of messages (TRL) |
| question/answer, query/response, ... | a text and its answer under another pair of names |
| OpenAI messages | messages |
| ShareGPT | conversations |
| plain text | text |
| pairs of texts | premise and hypothesis, sentence1 and sentence2, question1 and question2, ... |

A task says which of them it reads (`Task.accepted_shapes`). `data.columns` takes precedence: a
column that it names is read under that name, whatever the shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from llmkit.tasks import Task
from llmkit.tasks.conversation import Message, read_conversation, role_of, up_to_last_answer

Raw = Mapping[str, Any]

# Columns that can hold each part of an instruction; the first one in a row is read.
QUESTION_COLUMNS = ("instruction", "prompt", "question", "query", "input")
ANSWER_COLUMNS = ("output", "response", "completion", "answer")
OPTIONAL_COLUMNS = {
    "input": ("input", "context"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
}
SENTENCE_PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"),
    ("text1", "text2"), ("sentence_a", "sentence_b"), ("question", "sentence"),
)  # fmt: skip
CONVERSATIONS = {
    "messages": "OpenAI messages",
    "conversations": "ShareGPT",
    "conversation": "ShareGPT",
}
NAMES = {("instruction", "output"): "Alpaca", ("instruction", "response"): "Dolly"}


@dataclass(frozen=True)
class Shape:
    """A known shape of rows, and the columns of the data that hold its parts."""

    name: str
    columns: dict[str, str | list[str]]
    """The column of the data for each part: `messages`; `text`; `text` and `text_pair`; or
    `instruction`, `output` and so on."""
    holds_messages: bool = False
    """Whether the parts are messages instead of texts."""

    def __str__(self) -> str:
        names = ([name] if isinstance(name, str) else name for name in self.columns.values())
        return f"{self.name}: {', '.join(chain.from_iterable(names))}"

    def fits(self, first: "Shape") -> bool:
        """Whether a row of this shape belongs into a file whose first row has the other one."""
        required = [
            {part: name for part, name in shape.columns.items() if part not in OPTIONAL_COLUMNS}
            for shape in (self, first)
        ]
        return self.name == first.name and required[0] == required[1]


def find_shape(raw: Raw, kinds: tuple[str, ...], given: Mapping[str, Any]) -> Shape | None:
    """The first of these kinds of shapes (`pair`, `conversation`, `text`, `sentences`) that a row
    has.

    given: The columns that the recipe names, by part.
    """
    names = {str(name).strip().lower(): str(name) for name in reversed(raw)}
    for kind in kinds:
        if kind == "pair":
            shape = _find_pair(raw, names, given)
        elif kind == "sentences":
            shape = _find_sentences(names, given)
        else:
            shape = _find_conversation(names) if kind == "conversation" else _find_text(names)
            shape = None if given else shape
        if shape is not None:
            return shape
    return None


def _find_pair(raw: Raw, names: Mapping[str, str], given: Mapping[str, Any]) -> Shape | None:
    question = next((name for name in QUESTION_COLUMNS if name in names), None)
    answers = [name for name in ANSWER_COLUMNS if name in names]
    answers = answers[:1] if "output" in answers else answers  # Alpaca's own name
    answer = answers[0] if answers else None
    found = {"instruction": names.get(question), "output": names.get(answer)}
    columns = {part: given.get(part) or name for part, name in found.items()}
    if None in columns.values() or (len(answers) > 1 and "output" not in given):
        return None
    for part, candidates in OPTIONAL_COLUMNS.items():
        free = [names[n] for n in candidates if n in names and names[n] not in columns.values()]
        if part in given or free:
            columns[part] = given.get(part) or free[0]
    order = ("instruction", "input", "output", "system", "history")
    columns = {part: columns[part] for part in order if part in columns}
    parts = columns["instruction"], columns["output"]
    if isinstance(raw.get(parts[0]), list):
        return Shape(f"conversational {parts[0]}/{parts[1]}", columns, holds_messages=True)
    return Shape(
        NAMES.get(tuple(map(str.lower, map(str, parts))), "/".join(map(str, parts))), columns
    )


def _find_sentences(names: Mapping[str, str], given: Mapping[str, Any]) -> Shape | None:
    """A pair of texts; None if the row or the recipe names the column of the text itself."""
    if "text" in names or {"text", "text_pair"} & given.keys():
        return None
    for pair in SENTENCE_PAIRS:
        if all(name in names for name in pair):
            first, second = (names[name] for name in pair)
            return Shape("pairs of texts", {"text": first, "text_pair": second})
    return None


def _find_conversation(names: Mapping[str, str]) -> Shape | None:
    for column, name in CONVERSATIONS.items():
        if column in names:
            columns = {"messages": names[column]}
            columns |= {"system": names["system"]} if "system" in names else {}
            return Shape(name, columns, holds_messages=True)
    return None


def _find_text(names: Mapping[str, str]) -> Shape | None:
    return Shape("plain text", {"text": names["text"]}) if "text" in names else None


def read_shape(
    raw: Raw, shape: Shape, task: Task
) -> tuple[Raw, dict[str, str | list[str]], tuple[str, ...]]:
    """Convert a row of a shape to the columns of the task.

    Returns:
        The row; the mapping of the task's columns whose names in the row differ; and the names of
        ignored fields.

    Raises:
        ValueError: With a message for the user, if the row lacks what the task reads.
    """
    columns = shape.columns
    history = columns.get("history")
    if task.chat is None and history and _part(raw, history):
        raise ValueError(f"column {history} holds earlier turns, which only the chat task reads")
    ignored = ("tools",) if raw.get("tools") and "text" not in columns else ()
    direct = {part: name for part, name in columns.items() if part in task.columns}
    is_direct = len(direct) == len(columns) - ("history" in columns)
    if is_direct and shape.holds_messages == (task.chat is not None):
        return raw, direct, ignored
    messages = _messages_of(raw, shape)
    if task.chat is not None:
        return {**raw, task.target: messages}, {}, ignored
    try:
        conversation, unread = read_conversation(messages)
        conversation = up_to_last_answer(conversation)
    except ValueError as error:
        names = [name for part, name in columns.items() if part not in OPTIONAL_COLUMNS]
        raise ValueError(f"column {' and '.join(names)}: {error}") from None
    return {**raw, **_single_turn(conversation)}, {}, (*ignored, *unread)


def _single_turn(conversation: list[Message]) -> dict[str, str]:
    """The parts of an instruction; raises ValueError for a conversation of several turns."""
    system = [message.content for message in conversation if message.role == "system"]
    question, answer, *later = [m for m in conversation if m.role != "system"]
    if later:
        num_turns = 1 + len(later) // 2
        raise ValueError(f"the conversation has {num_turns} turns, which only the chat task reads")
    return {
        "system": "".join(system),
        "instruction": question.content,
        "input": "",
        "output": answer.content,
    }


def _messages_of(raw: Raw, shape: Shape) -> Any:
    """The row as a list of messages, still unchecked."""
    parts = {part: _part(raw, name) for part, name in shape.columns.items()}
    system = [{"role": "system", "content": parts["system"]}] if parts.get("system") else []
    if shape.holds_messages and "messages" not in parts:  # answers in the prompt are context only
        prompt = [{**m, "weight": 0} if isinstance(m, Mapping) else m for m in parts["instruction"]]
        answer = parts["output"]
        messages = prompt + answer if isinstance(answer, list) else answer
    elif shape.holds_messages:
        messages = parts["messages"]
    else:
        return system + _turns_of(parts, shape.columns)
    first = messages[0] if isinstance(messages, list) and messages else None
    has_system = isinstance(first, Mapping) and role_of(first) == "system"
    return system + messages if system and first is not None and not has_system else messages


def _part(raw: Raw, column: str | list[str]) -> Any:
    """The value of a row in a column; None for NaN."""
    if not isinstance(column, str):
        raise ValueError(f"columns {', '.join(column)}: messages are read from one column")
    if column not in raw:
        raise ValueError(f"no column {column!r}; name another one with data.columns")
    return None if raw[column] != raw[column] else raw[column]


def _turns_of(parts: Mapping[str, Any], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """The messages of an instruction with its history, `[[question, answer], ...]`."""
    history = parts.get("history") or []
    is_list = isinstance(history, list)
    if not is_list or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise ValueError(f"column {columns['history']} must be a list of [question, answer]")
    texts = [parts["instruction"], parts.get("input")]
    for name, text in zip(("instruction", "input"), texts, strict=True):
        if not isinstance(text, str | None):
            kind = type(text).__name__
            raise ValueError(f"column {columns[name]} must hold a text, not {kind}")
    question = "\n".join(text for text in texts if text)
    return [
        {"role": role, "content": content}
        for turn in [*history, (question, parts["output"])]
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
