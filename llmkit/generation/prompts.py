"""Prompts for `generate`: the rows of a file or a typed prompt, as prompt segments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.data.column_mapping import Columns
from llmkit.data.columns import is_missing, read_columns, select_prompt, shape_of
from llmkit.errors import UserError, first_few, printable
from llmkit.io import row_files
from llmkit.io.row_writer import NUMBERED, PROBABILITY, check_writable
from llmkit.paths import row_format
from llmkit.tasks import Segment, Task, is_blank, to_example
from llmkit.tasks.base import prompt_segments

# Columns of an input file whose names the output uses for results; they are prefixed `input_`.
TAKEN = re.compile(
    rf"(input_)*(prediction|{NUMBERED.pattern}|predictions|probabilities|votes|{PROBABILITY}.*)",
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


@dataclass(frozen=True)
class PromptReader:
    """How rows and typed prompts become the prompts that a model was trained with."""

    task: Task
    columns: Columns
    """Column of the task -> column of the file."""
    encoding: str | None = None
    """Encoding of a text file; None: UTF-8, or UTF-16 if the first bytes show it."""
    is_raw: bool = False
    """Whether typed prompts are passed without the task's template."""

    def typed(self, text: str) -> list[Segment]:
        """A typed prompt in the task's template, unless it already ends in the template's cue.

        One text cannot fill a template with several inputs, so the prompt is passed as it is.
        """
        if not self.fills_template:
            return [Segment(text)]
        task = self.task
        if self.cue and text.rstrip().endswith(self.cue):
            return [Segment(text.rstrip())]
        if task.prompt_from_text is not None:
            return task.prompt_from_text(text)
        return prompt_segments(
            dict.fromkeys(task.inputs, "") | {task.truncatable_input: text}, task
        )

    @property
    def fills_template(self) -> bool:
        """Whether a typed prompt is put into a template."""
        task = self.task
        if self.is_raw or task.output == "text":
            return False
        return task.prompt_from_text is not None or not set(task.inputs) - {
            task.truncatable_input,
            *task.optional,
        }

    @property
    def cue(self) -> str:
        """What the task's prompts end with."""
        if self.task.prompt_from_text is not None:
            return self.task.prompt_from_text("")[-1].text.strip()
        return self.task.template.rpartition("}")[2].strip()

    def read(self, path: Path) -> Iterator[Prompt | UserError]:
        """The prompts of a file: the task's columns, or typed prompts in a column `prompt` or the
        lines of a text file. In place of a row that gives no prompt stands what is wrong with it.
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
            columns=_kept(raw),
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


def _kept(raw: dict[str, Any]) -> dict[str, Any]:
    """The row's columns; those named like a result are renamed."""
    return {
        (f"input_{name}" if TAKEN.fullmatch(name) else name): value for name, value in raw.items()
    }


@dataclass
class Survey:
    """What is found in all prompts of a file before anything is generated."""

    num_rows: int = 0
    left_out: list[str] = field(default_factory=list)
    """What is wrong with each row that is left out."""
    columns: dict[str, None] = field(default_factory=dict)
    """Names of the input's columns, in order."""
    empty: list[str] = field(default_factory=list)
    """Places of rows whose text is empty."""
    blank_ends: list[str] = field(default_factory=list)
    """Places of prompts that end in a space or tab."""
    num_shortened: int = 0
    uses_template: bool = False
    """Whether a prompt was put into the task's template."""
    has_references: bool = False
    ids: dict[str, str] = field(default_factory=dict)
    """Place where each id was seen first."""
    twins: list[str] = field(default_factory=list)
    """Places of rows whose id was seen before."""

    def add(self, prompt: Prompt, is_shortened: bool) -> None:
        self.num_rows += 1
        self.num_shortened += is_shortened
        self.uses_template |= any(segment.is_from_row for segment in prompt.segments)
        self.has_references |= prompt.references is not None
        self.columns |= dict.fromkeys(prompt.columns)
        if not has_text(prompt.segments):
            self.empty.append(prompt.where)
        if prompt.text.endswith((" ", "\t")):
            self.blank_ends.append(prompt.where)
        if self.ids.setdefault(str(prompt.id), prompt.where) != prompt.where:
            self.twins.append(prompt.where)

    def warnings(self) -> Iterator[str]:
        """A warning for each kind of problem."""
        if self.left_out:
            yield (
                f"{_count(self.left_out, 'row has', 'rows have')} no prediction, since "
                f"data.skip_invalid leaves out invalid rows: {first_few(self.left_out)}"
            )
        if self.blank_ends:
            yield (
                f"{_count(self.blank_ends, 'prompt ends', 'prompts end')} in a space or tab, which "
                "the tokenizer separates from the next word; remove it for better completions: "
                f"{first_few(self.blank_ends)}"
            )
        if self.empty:
            yield (
                f"{_count(self.empty, 'row has', 'rows have')} no text, so predictions for "
                f"them are meaningless: {first_few(self.empty)}"
            )
        if self.twins:
            yield (
                f"{_count(self.twins, 'row has', 'rows have')} the id of an earlier row; "
                f"`evaluate` and `compare` will refuse the predictions: {first_few(self.twins)}"
            )
        for name in filter(TAKEN.fullmatch, self.columns):
            before = printable(name.removeprefix("input_"))
            yield f"the input's column {before!r} is written as 'input_{before}'"


def _count(places: list[str], one: str, several: str) -> str:
    return f"{len(places):,} {one if len(places) == 1 else several}"


def has_text(segments: list[Segment]) -> bool:
    """Whether a prompt holds any text of its row."""
    from_row = [segment.text for segment in segments if segment.is_from_row]
    return not from_row or not all(map(is_blank, from_row))
