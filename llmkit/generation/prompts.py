"""Prompts, read from the rows of a file or typed, as segments of a task's template."""

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

# Columns of an input file that have the name of a result; the output prefixes them with `input_`.
RESULT_COLUMN = re.compile(
    rf"(input_)*(prediction|{NUMBERED_PREDICTION.pattern}|predictions|probabilities|votes|{PROBABILITY_PREFIX}.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Prompt:
    """One prompt, and the row of the input file it comes from."""

    id: Any
    where: str
    """file:line, or the option that gave the prompt."""
    segments: list[Segment]
    columns: dict[str, Any]
    """All columns of the input row by their names in the output."""
    references: list[str] | None = None
    """The accepted answers, where the row has them."""

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)

    @property
    def has_text(self) -> bool:
        """Whether the prompt holds any text of its row, or has no text of a row to hold."""
        from_row = [segment.text for segment in self.segments if segment.is_from_row]
        return not from_row or not all(map(is_blank, from_row))


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model reads it."""

    prompt: Prompt
    ids: list[int]
    is_truncated: bool


@dataclass(frozen=True)
class PromptReader:
    """Turns rows and typed prompts into prompts as the model was trained with."""

    task: Task
    columns: Columns
    """Column of the task -> column of the file."""
    encoding: str | None = None
    """Encoding of text files; None: UTF-8, or UTF-16 if the first bytes show it."""
    is_raw: bool = False
    """Whether typed prompts are passed without the task's template."""

    def typed(self, text: str, system: str = "") -> list[Segment]:
        """A typed prompt in the task's template, unless it already ends like a filled one.

        One text cannot fill a template with several inputs; it is passed as it is.

        system: The system prompt, for tasks with a place for one besides chat.
        """
        if not self.fills_template:
            return [Segment(text)]
        task = self.task
        if self.cue and not system and text.rstrip().endswith(self.cue):
            return [Segment(text.rstrip())]
        if task.chat is not None:
            return task.chat.prompt_from_text(text)
        row = dict.fromkeys(task.inputs, "") | {"system": system, task.truncatable_input: text}
        return prompt_segments(row, task)

    def typed_prompt(self, text: str, id: str, where: str, system: str = "") -> Prompt:
        """The prompt that a typed text becomes; raises UserError if the text is blank.

        A prompt without a template may be white space.
        """
        prompt = Prompt(id, where, self.typed(text, system), {"prompt": text})
        if not text or not prompt.has_text:
            raise UserError(f"{where}: the prompt is empty; give it at least one character")
        return prompt

    @property
    def fills_template(self) -> bool:
        """Whether a typed prompt is put into a template."""
        task = self.task
        if self.is_raw or task.output == "text":
            return False
        return task.chat is not None or not set(task.inputs) - {
            task.truncatable_input,
            *task.optional_inputs,
        }

    @property
    def takes_system_prompt(self) -> bool:
        """Whether typed prompts have a place for a system prompt."""
        in_template = self.fills_template and "system" in PLACEHOLDER.findall(self.task.template)
        return self.task.chat is not None or in_template

    @property
    def cue(self) -> str:
        """The fixed text that the task's prompts end with."""
        if self.task.chat is not None:
            return self.task.chat.prompt_from_text("")[-1].text.strip()
        return self.task.template.rpartition("}")[2].strip()

    def read(self, path: Path) -> Iterator[Prompt | UserError]:
        """The prompts of a file, or a UserError for a row that gives none.

        A row has the task's columns, or a typed prompt in the column `prompt`; each line of a text
        file is a typed prompt.
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
            return self.typed(prompt)
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
        """Whether the row has a column that the task's prompt is made of."""
        names = self.task.inputs or (self.task.target,)
        paths = [str(self.columns.get(name, name)) for name in names]
        is_named = any(path in raw or path.partition(".")[0] in raw for path in paths)
        return is_named or shape_of(raw, self.task, self.columns) is not None

    def _references(
        self, raw: dict[str, Any], segments: list[Segment], where: str
    ) -> list[str] | None:
        """The row's accepted answers to this very prompt."""
        if self.task.output == "text":
            return None
        shape = shape_of(raw, self.task, self.columns)
        try:
            row = read_columns(raw, self.task, self.columns, shape, where)
        except UserError:  # new rows have no answer
            return None
        example = to_example({"id": where, **row}, self.task)
        is_asked = example.prompt_text == "".join(segment.text for segment in segments)
        has_answer = any(example.references) or self._says_unanswerable(raw)
        return example.references if is_asked and has_answer else None

    def _says_unanswerable(self, raw: dict[str, Any]) -> bool:
        """Whether the row's list of answers is empty; an empty text is an answer not yet given."""
        name = self.columns.get(self.task.target, self.task.target)
        value = raw.get(name.partition(".")[0]) if isinstance(name, str) else None
        value = value.get("text") if isinstance(value, dict) else value
        return self.task.allows_no_answer and value == []


def _output_columns(raw: dict[str, Any]) -> dict[str, Any]:
    """The row's columns by their names in the output."""
    return {
        (f"input_{name}" if RESULT_COLUMN.fullmatch(name) else name): value
        for name, value in raw.items()
    }
