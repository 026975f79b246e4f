"""Convert a row of the data to the columns of a task."""

import ast
import difflib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llmkit.data.column_mapping import Columns, takes_several
from llmkit.data.shapes import CONVERSATIONS, Shape, find_shape, read_shape
from llmkit.errors import UserError, did_you_mean, printable
from llmkit.metrics.labels import label_text
from llmkit.tasks import Row, Segment, Task
from llmkit.tasks.base import prompt_segments
from llmkit.tasks.conversation import role_of

Raw = Mapping[str, Any]


class MissingColumn(UserError):
    """The error for a row without a column of the task; it names the key that maps the column."""

    def __init__(self, message: str, name: str) -> None:
        """name: The column of the task."""
        super().__init__(message)
        self.name = name

    def with_target(self, raw: Raw, task: Task, columns: Columns) -> "MissingColumn":
        """The same error, which says so if the target's column is missing too."""
        target = columns.get(task.target, task.target)
        if not isinstance(target, str) or target.partition(".")[0] in raw or target in raw:
            return self
        key = f"data.columns.{task.target}={_nearest(raw, target, task.target, task)}"
        message = f"{self}; there is no column {target!r} either; name it with {key}"
        return MissingColumn(message, self.name)

    def of_split(self, split: str, task: Task) -> UserError:
        """The error for a file of this split alone, which may have other columns than train."""
        message = str(self).replace("data.columns.", f"data.columns.{split}.")
        if self.name == task.target:
            message += "; `llmkit generate --input FILE` predicts rows that lack it"
        return MissingColumn(message, self.name)


SKIP = "data.skip_invalid=true"
# How pandas writes a NumPy array into a cell.
PRINTED_ARRAY = re.compile(r"\s*[\[{].*\barray\(\[", re.DOTALL)
NUMBER_SUFFIX = re.compile(r"[ _-]?\d+")  # at the end of column names such as reference_1
READERS = {"conversation": "chat", "pair": "instruct"}  # the task that reads each kind of shape


def row_id(raw: Raw, index: int) -> str:
    """The row's `id` as text (7.0 becomes `7`), or its index (from 0) if it has none."""
    value = raw.get("id")
    if is_missing(value):
        return str(index)
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def shape_of(raw: Raw, task: Task, columns: Columns) -> Shape | None:
    """The shape of a row; None if it has none that the task accepts."""
    if task.chat is not None and task.target in columns:
        return None
    given = {name: column for name, column in columns.items() if name not in task.template_inputs}
    return find_shape(raw, task.accepted_shapes, given)


def read_columns(
    raw: Raw, task: Task, columns: Columns, shape: Shape | None, where: str
) -> dict[str, Any]:
    """The row with the columns of the task.

    shape: The shape of the file's rows, which this row has to have as well; None: the task's own
    columns.
    """
    raw = _with_lists(raw, task, columns)
    if shape is None:
        return select_columns(raw, task, columns, where)
    own = shape_of(raw, task, columns)
    if own is None or not own.fits(shape):
        raise UserError(
            f"{where}: the row does not have the file's shape, {shape}"
            f"{f', but {own}' if own else ''}; the columns are: {_names(raw)}; put rows of another "
            f"shape into a separate file, or skip them with {SKIP}"
        )
    try:
        raw, columns, ignored = _read_shape(raw, own, task, columns)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    row = select_columns(raw, task, columns, where)
    return {**row, "ignored": ignored} if ignored else row


def _read_shape(
    raw: Raw, shape: Shape, task: Task, columns: Columns
) -> tuple[Raw, Columns, tuple[str, ...]]:
    """`read_shape`, with the mapping for the row that it returns: parts of the shape may now have
    the task's own names instead of those that the recipe maps."""
    raw, found, ignored = read_shape(raw, shape, task)
    others = {name: column for name, column in columns.items() if name not in shape.columns}
    return raw, {**others, **found}, ignored


def _with_lists(raw: Raw, task: Task, columns: Columns) -> Raw:
    """The row with lists and mappings of messages, answers or labels that the cells of a table hold
    as text, in JSON or Python notation, parsed."""
    names = list(CONVERSATIONS) if "conversation" in task.accepted_shapes else []
    if task.chat is not None or task.allows_no_answer or task.output == "label":
        names += [columns.get(task.target, task.target)]
    elif task.has_reference_lists:
        target = columns.get(task.target, task.target)
        names += [target] if isinstance(target, str) else target
    read = {n: _list_in(raw[n]) for n in names if isinstance(n, str) and n in raw}
    if task.allows_no_answer:  # an answer can be a text in brackets, such as the interval [0, 5]
        read = {n: value for n, value in read.items() if _are_answers(value)}
    elif task.has_reference_lists:
        read = {n: value for n, value in read.items() if _are_texts(value)}
    return {**raw, **read}


def _list_in(cell: Any) -> Any:
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        for parse in (json.loads, ast.literal_eval):
            with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                value = parse(cell.strip())
                return value if isinstance(value, list | dict) else cell
    return cell


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_answers(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str | Mapping) for each in value)
    return isinstance(value, Mapping) and "text" in value


def select_prompt(raw: Raw, task: Task, columns: Columns, where: str) -> list[Segment]:
    """The prompt of a row for `generate`; the row may lack an answer.

    Of a conversation, the final answer is left out.
    """
    raw = _with_lists(raw, task, columns)
    shape = shape_of(raw, task, columns)
    if shape is None and "pair" in task.accepted_shapes and task.target not in columns:
        shape = find_shape(raw, ("pair",), {"output": "output"} | dict(columns))
    try:
        if shape is not None:
            raw, columns, _ = _read_shape(_with_answer(raw, shape), shape, task, columns)
        if task.chat is None:
            return prompt_segments(select_inputs(raw, task, columns, where), task)
        segments = task.chat.parse_prompt(_value_of(raw, task.target, task, columns, where))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    for segment in segments:
        _check_text(segment.text, task.target, columns, where)
    return segments


def _with_answer(raw: Raw, shape: Shape) -> Raw:
    """The row with an empty answer if it has none: in the column of the answer, or after a
    conversation that ends with a question."""
    answer = {"role": "assistant", "content": ""}
    output = shape.columns.get("output")
    if isinstance(output, str) and output not in raw:
        return {**raw, output: [answer] if shape.holds_messages else ""}
    column = shape.columns.get("messages")
    messages = raw[column] if column else None
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], Mapping):
        return raw
    return {**raw, column: [*messages, answer]} if role_of(messages[-1]) == "user" else raw


def group_of(raw: Raw, column: str, where: str) -> str:
    """The value of a column that `evaluation.by` names, as text."""
    if column not in raw:
        hint = did_you_mean(column, list(raw))
        raise UserError(
            f"{where}: no column {column!r} for evaluation.by; the columns are: {_names(raw)}{hint}"
        )
    return printable(str(raw[column]), 60)


def select_columns(raw: Raw, task: Task, columns: Columns, where: str) -> Row:
    """The columns of the task: a text for each input, a text or a list of texts for the target."""
    try:
        row = select_inputs(raw, task, columns, where)
    except MissingColumn as error:
        raise error.with_target(raw, task, columns) from None
    if task.chat is not None:
        value = _value_of(raw, task.target, task, columns, where)
        _check_readable(value, task, columns, where)
        return {**row, task.target: value}
    value = _target(raw, task, columns, where)
    may_be_list = isinstance(value, list | tuple) and task.output != "text"
    texts = list(value) if may_be_list else [value]
    if not texts and not task.allows_no_answer:
        column = columns.get(task.target, task.target)
        raise UserError(
            f"{where}: column {column} is an empty list; a row needs at least one accepted text: "
            "remove the row"
        )
    for text in texts:
        _check_text(text, task.target, columns, where)
    if isinstance(raw.get("id"), str):  # written to files of predictions
        _check_text(raw["id"], "id", {}, where)
    return {**row, task.target: value if isinstance(value, str) else texts}


def _target(raw: Raw, task: Task, columns: Columns, where: str) -> Any:
    """The target: a text or a list of texts. Of several columns, those that are not empty."""
    names = columns.get(task.target, task.target)
    if isinstance(names, str):
        value = _value_of(raw, task.target, task, columns, where)
        if task.allows_no_answer and is_missing(value):
            return []
        if task.allows_no_answer:
            value = _answers(value)
        if isinstance(value, str) and (
            task.output == "label" or task.allows_no_answer or task.has_reference_lists
        ):
            _check_cell(value, columns.get(task.target, task.target), where)
        return (
            _label(value, task, columns, where) if task.output == "label" and value != [] else value
        )
    texts = []
    for name in names:
        value = _value_of(raw, task.target, task, {task.target: name}, where)
        texts += value if isinstance(value, list) else [value]
    return [text for text in texts if not is_missing(text)] or [""]


def _answers(value: Any) -> Any:
    """The texts of answers in SQuAD's format: {"text": [...], "answer_start": [...]} on the hub,
    [{"text": ..., "answer_start": ...}] in its own files."""
    if isinstance(value, Mapping):
        return value.get("text", value)
    return [_answers(each) for each in value] if isinstance(value, list) else value


def _check_cell(text: str, column: str, where: str) -> None:
    if PRINTED_ARRAY.match(text):
        raise UserError(
            f"{where}: column {column} holds a printed array ({printable(text, 40)}), which "
            "cannot be read back; save the data as jsonl or parquet instead of csv"
        )


def _label(value: Any, task: Task, columns: Columns, where: str) -> str:
    try:
        return label_text(value)
    except ValueError as error:
        column = columns.get(task.target, task.target)
        raise UserError(
            f"{where}: column {column} {error}; fix the row, or name another column with "
            f"data.columns.{task.target}"
        ) from None


def select_inputs(raw: Raw, task: Task, columns: Columns, where: str) -> dict[str, str]:
    """The text of each input column."""
    return {name: _input(raw, name, task, columns, where) for name in task.inputs}


def _input(raw: Raw, name: str, task: Task, columns: Columns, where: str) -> str:
    """The text of an input. A column that only a template names may be empty or hold a number."""
    if name in task.optional_inputs and name not in columns and name not in raw:
        return ""
    value = _value_of(raw, name, task, columns, where)
    if name in (*task.optional_inputs, *task.template_inputs) and is_missing(value):
        return ""
    if name in task.template_inputs and isinstance(value, int | float):
        value = str(value)
    _check_text(value, name, columns, where)
    return value


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: null, NaN (as pandas writes it) or white space."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _check_readable(value: Any, task: Task, columns: Columns, where: str) -> None:
    """Raise UserError unless the value is a conversation whose messages are valid text."""
    column = columns.get(task.target, task.target)
    try:
        segments, answer, _ = task.chat.parse(value)
    except ValueError as error:
        raise UserError(f"{where}: column {column}: {error}") from None
    for text in (*(segment.text for segment in segments), answer):
        _check_text(text, task.target, columns, where)


def _check_text(text: Any, name: str, columns: Columns, where: str) -> None:
    column = columns.get(name, name)
    column = column if isinstance(column, str) else ", ".join(column)
    if not isinstance(text, str):
        kind = "a missing value (null)" if is_missing(text) else type(text).__name__
        raise UserError(
            f"{where}: column {column} must hold a text, not {kind}; fix the row, "
            f"or name another column with data.columns.{name}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{where}: column {column} contains half a character (a lone surrogate); fix the row"
        ) from None


def _value_of(raw: Raw, name: str, task: Task, columns: Columns, where: str) -> Any:
    """The value of a column of the task. A dotted path leads into mappings, and into each item of a
    list."""
    path = columns.get(name, name)
    if path in raw:
        return raw[path]
    value: Any = raw
    for part in path.split("."):
        items = value if isinstance(value, list) else [value]
        for item in items:
            if not isinstance(item, Mapping) or part not in item:
                raise _missing_column(f"{where}: no column {path!r}", item, part, name, task)
        value = [item[part] for item in items] if isinstance(value, list) else value[part]
    return value


def _missing_column(problem: str, there: Any, missing: str, name: str, task: Task) -> MissingColumn:
    """The error for a part of a column's path that is missing `there`, with the existing columns
    and advice."""
    key = f"name the right one with data.columns.{name}"
    if not isinstance(there, Mapping):
        return MissingColumn(f"{problem}; there are no columns here; {key}=COLUMN", name)
    problem += f"; the columns are: {_names(there)}; "
    problem += "name one of them in the template, or " if name in task.template_inputs else ""
    problem += f"{key}={_nearest(there, missing, name, task)}"
    shape = find_shape(there, tuple(READERS), {})
    readers = [reader for kind, reader in READERS.items() if find_shape(there, (kind,), {})]
    if shape is not None and task.name not in readers:
        problem += f"; the rows look like {shape}; the {readers[0]} task reads them"
    return MissingColumn(problem, name)


def _nearest(row: Raw, missing: str, name: str, task: Task) -> str:
    """The column that was probably meant, or the columns of several references."""
    there = list(map(str, row))
    listed = [part.strip() for part in missing.split(",")]
    numbered = [
        c for c in there if c.startswith(missing) and NUMBER_SUFFIX.fullmatch(c[len(missing) :])
    ]
    nested = [f"{c}.{missing}" for c, v in row.items() if isinstance(v, Mapping) and missing in v]
    if len(listed) > 1 and set(listed) <= set(there):
        return f"[{missing}]"
    if len(numbered) > 1 and name == task.target and takes_several(task):
        return printable(f"[{','.join(numbered)}]")
    if name in there:
        return name
    lower = {column.lower(): column for column in reversed(there)}
    near = [lower[c] for c in difflib.get_close_matches(missing.lower(), lower, 1, cutoff=0.75)]
    return printable([*near, *nested][0]) if near or nested else "COLUMN"


def _names(columns: Raw) -> str:
    """The names of columns for a message, in quotes if empty or surrounded by white space."""
    names = (name if name and name == name.strip() else repr(name) for name in columns)
    return printable(", ".join(names)) or "none"
