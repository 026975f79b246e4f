"""Prompts from the rows of a file or from plain text, as segments of a task's template."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.data.column_mapping import Columns
from llmkit.data.columns import is_missing, read_columns, select_prompt, shape_of
from llmkit.errors import UserError, printable
from llmkit.io import row_files
from llmkit.io.row_lines import NUMBERED_PREDICTION, PROBABILITY_PREFIX, check_writable
from llmkit.paths import row_format
from llmkit.tasks import Segment, Task, is_blank, to_example
from llmkit.tasks.base import PLACEHOLDER, prompt_segments

# Input columns named like a result column; the output adds the prefix `input_` to their names.
RESULT_COLUMN = re.compile(
    rf"(input_)*(prediction|{NUMBERED_PREDICTION.pattern}|predictions|probabilities|votes|{PROBABILITY_PREFIX}.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Prompt:
    """A prompt and the input row it was built from."""

    id: Any
    where: str
    """Origin of the prompt for messages: file:line or an option."""
    segments: list[Segment]
    columns: dict[str, Any]
    """All columns of the input row, by their names in the output."""
    references: list[str] | None = None
    """The accepted answers, if the row has any."""

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)

    @property
    def has_text(self) -> bool:
        """False if all text that the row contributes to the prompt is blank."""
        from_row = [segment.text for segment in self.segments if segment.is_from_row]
        return not from_row or not all(map(is_blank, from_row))


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt with its token ids."""

    prompt: Prompt
    ids: list[int]
    """Token ids, truncated to fit."""
    is_truncated: bool


@dataclass(frozen=True)
class PromptReader:
    """Builds prompts from rows and plain text, in the form the model was trained on."""

    task: Task
    columns: Columns
    """Maps columns of the task to columns of the file."""
    encoding: str | None = None
    """Encoding of text files; None: UTF-8, or UTF-16 with a byte order mark."""
    is_raw: bool = False
    """Whether plain text is passed to the model unchanged, without the task's template."""

    def segments_from_text(self, text: str, system: str = "") -> list[Segment]:
        """Fill the task's template with a text, unless the text already ends like the template.

        If the template has several inputs, the text is taken as a complete prompt.

        system: System prompt, for templates that contain one.
        """
        if not self.fills_template:
            return [Segment(text)]
        task = self.task
        if self.prompt_ending and not system and text.rstrip().endswith(self.prompt_ending):
            return [Segment(text.rstrip())]
        if task.chat is not None:
            return task.chat.prompt_from_text(text)
        row = dict.fromkeys(task.inputs, "") | {"system": system, task.truncatable_input: text}
        return prompt_segments(row, task)

    def build_prompt(self, text: str, id: str, where: str, system: str = "") -> Prompt:
        """Build a prompt from a text. Raises UserError if the text is blank; without a template,
        white space is a valid prompt.

        Args:
            where: Name of the prompt in messages.
            system: System prompt, for templates that contain one.
        """
        prompt = Prompt(id, where, self.segments_from_text(text, system), {"prompt": text})
        if not text or not prompt.has_text:
            raise UserError(f"{where}: the prompt is empty; give it at least one character")
        return prompt

    @property
    def fills_template(self) -> bool:
        """Whether plain text is filled into a template."""
        task = self.task
        if self.is_raw or task.output == "text":
            return False
        return task.chat is not None or not set(task.inputs) - {
            task.truncatable_input,
            *task.optional_inputs,
        }

    @property
    def accepts_system_prompt(self) -> bool:
        """Whether prompts built from a text can contain a system prompt."""
        in_template = self.fills_template and "system" in PLACEHOLDER.findall(self.task.template)
        return self.task.chat is not None or in_template

    @property
    def prompt_ending(self) -> str:
        """The fixed text at the end of every prompt of the task."""
        if self.task.chat is not None:
            return self.task.chat.prompt_from_text("")[-1].text.strip()
        return self.task.template.rpartition("}")[2].strip()

    def read(self, path: Path) -> Iterator[Prompt | UserError]:
        """Yield the prompt of each row of a file, or a UserError for an invalid row.

        A row has either the task's columns or a text in the column `prompt`. In a txt file, each
        line is such a text.
        """
        rows = row_files.read_all(path, encoding=self.encoding, rows="line")
        for index, (where, raw) in enumerate(rows):
            try:
                if isinstance(raw, UserError):
                    raise raw
                yield self._prompt(index, where, raw, is_text=row_format(path) == ".txt")
            except UserError as error:
                yield error

    def _prompt(self, index: int, where: str, raw: dict[str, Any], *, is_text: bool) -> Prompt:
        if is_text:
            raw = {"prompt": raw["text"]}
        check_writable(raw, where)
        segments = self._segments(raw, where)
        name = raw.get("id")
        return Prompt(
            id=str(index) if is_missing(name) else name,
            where=where,
            segments=segments,
            columns=_output_columns(raw),
            references=self._references(raw, segments, where),
        )

    def _segments(self, raw: dict[str, Any], where: str) -> list[Segment]:
        task, prompt = self.task, raw.get("prompt")
        is_plain = self.is_raw or task.output == "text"
        if isinstance(prompt, str) and (is_plain or not self._has_columns(raw)):
            return self.segments_from_text(prompt)
        if task.output != "text":
            return select_prompt(raw, task, self.columns, where)
        column = self.columns.get(task.target, task.target)
        if not isinstance(raw.get(column), str):
            there = printable(", ".join(map(str, raw))) or "none"
            raise UserError(
                f"{where}: no text column 'prompt' or {column!r}; the columns are: {there}; "
                "rename the column of the prompts"
            )
        return [Segment(raw[column])]

    def _has_columns(self, raw: dict[str, Any]) -> bool:
        """Whether the row has any column used by the task's prompt."""
        names = self.task.inputs or (self.task.target,)
        paths = [str(self.columns.get(name, name)) for name in names]
        is_named = any(path in raw or path.partition(".")[0] in raw for path in paths)
        return is_named or shape_of(raw, self.task, self.columns) is not None

    def _references(
        self, raw: dict[str, Any], segments: list[Segment], where: str
    ) -> list[str] | None:
        """The row's accepted answers; None if it has none or its columns give another prompt."""
        if self.task.output == "text":
            return None
        shape = shape_of(raw, self.task, self.columns)
        try:
            row = read_columns(raw, self.task, self.columns, shape, where)
        except UserError:  # most new rows have no answer
            return None
        example = to_example({"id": where, **row}, self.task)
        is_same_prompt = example.prompt_text == "".join(segment.text for segment in segments)
        has_answer = any(example.references) or self._is_unanswerable(raw)
        return example.references if is_same_prompt and has_answer else None

    def _is_unanswerable(self, raw: dict[str, Any]) -> bool:
        """Whether the row's list of answers is empty, as for an unanswerable question. An empty
        string means that the answer is unknown."""
        name = self.columns.get(self.task.target, self.task.target)
        value = raw.get(name.partition(".")[0]) if isinstance(name, str) else None
        value = value.get("text") if isinstance(value, dict) else value
        return self.task.allows_no_answer and value == []


def _output_columns(raw: dict[str, Any]) -> dict[str, Any]:
    """The row's columns, by their names in the output."""
    return {
        (f"input_{name}" if RESULT_COLUMN.fullmatch(name) else name): value
        for name, value in raw.items()
    }
