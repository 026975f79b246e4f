"""What a task is: how a row becomes text to learn from, and how predictions are scored.

A task knows neither tokens nor models. A row is a dict of the task's columns; an Example is the
same row with prompt and completion apart, so that nobody ever has to search for the place where
the prompt ended.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from llmkit.errors import UserError
from llmkit.metrics import RowStatistics, corpus_scores, describe, row_statistics, settle
from llmkit.metrics.labels import label_of
from llmkit.metrics.prediction import Prediction

Row = Mapping[str, Any]  # the task's columns, "id", and "where" it stands (file:line)
Scores = dict[str, float]


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt."""

    text: str
    is_truncatable: bool = False
    """Cut, from its end, when the example is too long: the source, never the instruction."""
    is_from_row: bool = False
    """Text of the row, not of the template."""
    ends_turn: bool = False
    """Followed by an end-of-text: what the assistant said in an earlier turn."""
    is_supervised: bool = False
    """Supervised, with the end-of-text that follows it."""
    turn: int | None = None
    """Of a conversation: left out, with all of its turn, the oldest first, when it is too long."""


@dataclass(frozen=True)
class Example:
    """A row as the model sees it: prompt segments, the completion, and what scoring needs."""

    id: str
    prompt: list[Segment]
    completion: str
    """Starts with the space that separates it from the prompt; the end-of-text follows it."""
    references: list[str]
    """Every accepted answer; the first is the one to learn."""
    where: str = ""
    """Where the row stands (file:line), for messages."""
    ignored: tuple[str, ...] = ()
    """Fields of the row's messages that are not read."""
    is_unanswerable: bool = False
    """There is no answer: the completion is empty, and end-of-text alone is trained."""

    @property
    def prompt_text(self) -> str:
        return "".join(segment.text for segment in self.prompt)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to train on: no completion, or no text of the row in the
        prompt."""
        from_row = [segment.text for segment in self.prompt if segment.is_from_row]
        has_no_completion = is_blank(self.completion) and not self.is_unanswerable
        return has_no_completion or (bool(from_row) and all(map(is_blank, from_row)))


def is_blank(text: str) -> bool:
    """Whether nothing in the text is visible: only white space, controls and joiners."""
    text = text.strip()
    return not text[:1].isalnum() and all(
        c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text
    )


Output = Literal["completion", "label", "text"]


@dataclass(frozen=True)
class Task:
    """One task: its columns, its prompt, its score, its baselines."""

    name: str
    inputs: tuple[str, ...]
    """Columns that hold one text each."""
    target: str
    """Column to produce: a text, or a list of accepted texts."""
    truncatable_input: str
    """The input that is truncated when a row is too long; a template has to name it."""
    template: str
    """The prompt, with {column} marks and {#column}...{/column} sections; it ends without white
    space."""
    scores: dict[str, bool]
    """Names of the scores, the deciding one first, and whether higher is better."""
    output: Output = "completion"
    """What the task produces: a `completion` of the prompt; a `label`, the likeliest of those that
    the training rows have; or `text`, all of it supervised, without prompt and reference, which is
    scored by its loss."""
    metrics: tuple[str, ...] = ()
    """The files of llmkit.metrics that compute these scores, with settings after a colon; none for
    `text`."""
    optional: tuple[str, ...] = ()
    """Inputs that a row may lack."""
    context_input: str | None = None
    """An optional input that is truncated before the long input: what an instruction is about."""
    pair_input: str | None = None
    """An optional input beside the long input; the longer of the two is truncated first."""
    extra: tuple[str, ...] = ()
    """Inputs that the user's template adds: any columns of the data."""
    baselines: dict[str, Callable[[Row], str]] = field(default_factory=dict)
    """Answers that need no model."""
    majority_baseline: str | None = None
    """Name of one more: what the training rows answer most often."""
    extract_answer: Callable[[str], str] = str.strip
    """What of a completion is its answer, there."""
    parse_messages: Callable[[Any], tuple[list[Segment], str, tuple[str, ...]]] | None = None
    """For a task without a template: returns the prompt, the answer and the names of ignored fields
    of a row's target; raises ValueError with a message for the user."""
    read_prompt: Callable[[Any], list[Segment]] | None = None
    """Returns the prompt of a target that may lack an answer; raises ValueError as
    `parse_messages` does."""
    prompt_from_text: Callable[[str], list[Segment]] | None = None
    """The prompt of what someone types, where no template says it."""
    shapes: tuple[str, ...] = ()
    """Kinds of shapes that its rows may have beside its own columns, in the order in which they
    are looked for: `pair`, `conversation`, `text`, `sentences` (llmkit/data/shapes.py)."""
    chat_template: str | None = None
    """The same prompts for `tokenizer.apply_chat_template`."""
    allows_no_answer: bool = False
    """Whether an empty answer, or none, is right if the question cannot be answered."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.inputs, self.target)

    @property
    def source(self) -> tuple[str, ...]:
        """Columns whose texts make up a row's source; the first that has text is truncated."""
        return (
            (self.context_input, self.truncatable_input)
            if self.context_input
            else (self.truncatable_input,)
        )

    @property
    def shown_prompt(self) -> str | None:
        """How the prompts look, with {marks} for the row's texts; None if there are no prompts."""
        if self.output == "text":
            return None
        if self.prompt_from_text is not None:
            return "".join(segment.text for segment in self.prompt_from_text("{user}"))
        return self.template

    @property
    def score_names(self) -> list[str]:
        """The scores in the order in which they are shown, the loss last."""
        return list(dict.fromkeys([*self.scores, "loss"]))

    def row_statistics(
        self, predictions: Sequence[Prediction], references: Sequence[list[str]]
    ) -> RowStatistics:
        """What each row adds to the scores, by metric."""
        return {name: row_statistics(name, predictions, references) for name in self.metrics}

    def score(self, predictions: Sequence[Prediction], references: Sequence[list[str]]) -> Scores:
        """The task's scores of predictions, with the accepted texts of each."""
        made = corpus_scores(self.row_statistics(predictions, references))
        return {name: made[name].item() for name in self.scores if np.isfinite(made[name]).all()}

    def settled(self, references: Sequence[list[str]]) -> "Task":
        """The task with metrics whose settings fit the language of these references."""
        return replace(self, metrics=tuple(settle(name, references) for name in self.metrics))

    def signature(self) -> str:
        """Settings that a reader needs to reproduce the scores, in one line."""
        return "; ".join(map(describe, self.metrics))


def to_example(row: Row, task: Task) -> Example:
    """The row as prompt segments, completion and references."""
    where = row.get("where") or f"row {row['id']}"
    if task.parse_messages is not None:
        segments, answer, ignored = task.parse_messages(row[task.target])
        answer = answer.strip()
        ignored = (*row.get("ignored", ()), *ignored)
        return Example(row["id"], segments, f" {answer}", [answer], where, ignored)
    references = row[task.target]
    if isinstance(references, str):
        references = [references]
    if task.output == "label":
        references = [label_of(references)]
    if task.output == "text":
        return Example(row["id"], [], references[0], [], where)
    segments, ignored = prompt_segments(row, task), row.get("ignored", ())
    if task.allows_no_answer:
        references = [text for text in references if text.strip()]
        if not references:
            return Example(row["id"], segments, "", [""], where, ignored, is_unanswerable=True)
    return Example(row["id"], segments, f" {references[0].strip()}", references, where, ignored)


def texts_of(row: Row, task: Task) -> list[str]:
    """The text in each of the row's columns; of a conversation, the prompt and the answer.

    Columns that the task does not own, such as those of `evaluation.by`, are left out.
    """
    if task.parse_messages is not None:
        example = to_example(row, task)
        return [example.prompt_text, example.completion]
    values = [row[name] for name in task.columns]
    return [value if isinstance(value, str) else "\n".join(value) for value in values]


def prompt_segments(row: Row, task: Task) -> list[Segment]:
    """The task's template filled with the row's texts. Marks inside those texts mean nothing.

    A blank before a mark goes to the text that replaces it: GPT-2's tokens begin with their
    blank, so the segments' tokens are those of the prompt typed as a whole. An empty text takes
    the white space before it along.
    """
    cut = next((name for name in task.source if row.get(name, "").strip()), task.truncatable_input)
    segments, blank = [], ""
    for position, part in enumerate(MARK.split(_open_sections(task.template, row))):
        if position % 2:  # the odd parts are the names between braces
            text = row[part].strip()
            text = blank + text if text else ""
            segments.append(
                Segment(text, is_truncatable=part in (cut, task.pair_input), is_from_row=True)
            )
            blank = ""
        else:
            text = part.rstrip()
            blank = part[len(text) :]
            segments += [Segment(text)] if text else []
    return segments


MARK = re.compile(r"\{(\w+)\}")
SECTION = re.compile(r"\{#(\w+)\}(.*?)\{/\1\}", re.DOTALL)
RESERVED = ("id", "where", "by", "ignored")  # keys of a Row beside its columns


def _open_sections(template: str, row: Row) -> str:
    """The template with the sections whose column has text in this row, and without the others."""

    def kept(section: re.Match) -> str:
        return section[2] if row.get(section[1], "").strip() else ""

    while (opened := SECTION.sub(kept, template)) != template:
        template = opened
    return template


def with_template(task: Task, template: str) -> Task:
    """The task with a template of the user's, which may name any column of the data.

    Raises UserError for a template that cannot be filled.
    """
    if task.output == "text":
        raise UserError(
            f"data.template: {task.name} trains on whole texts and has no prompt; remove it"
        )
    if task.parse_messages is not None:
        raise UserError(f"data.template: {task.name} has a fixed prompt; remove the template")
    bare = template
    while (opened := SECTION.sub(r"\2", bare)) != bare:
        bare = opened
    stray = re.search(r"\{([#/])(\w+)\}", bare)
    if stray:
        raise UserError(
            f"data.template: {stray[0]} has no partner; a section is "
            f"{{#{stray[2]}}}...{{/{stray[2]}}}"
        )
    marks = list(dict.fromkeys(re.findall(r"\{#?(\w+)\}", template)))
    if task.target in marks:
        raise UserError(
            f"data.template: {{{task.target}}} is what the model has to write; remove it"
        )
    for name in RESERVED:
        if name in marks:
            raise UserError(
                f"data.template: {{{name}}} is a reserved name; choose another, and map it to the "
                f"column with data.columns.NAME={name}"
            )
    name = task.truncatable_input
    if name not in MARK.findall(bare):
        near = difflib.get_close_matches(name, marks, n=1)
        hint = (
            f"{{{near[0]}}} looks like a misspelling of it"
            if near
            else f"put it where the {name} belongs, and name the column that holds the "
            f"{name} with data.columns.{name}=COLUMN"
        )
        reader = "; the instruct task has {instruction}" if "instruction" in marks else ""
        raise UserError(f"data.template: {{{name}}} is missing; {hint}{reader}")
    if template != template.rstrip():
        raise UserError(
            "data.template: it ends in white space, which the tokenizer would split from the "
            "completion's first word; end it with the cue itself"
        )
    extra = tuple(name for name in marks if name not in task.inputs)
    if task.pair_input is not None and task.pair_input not in marks:  # single texts are read then
        inputs = tuple(name for name in task.inputs if name != task.pair_input)
        task = replace(task, inputs=inputs, optional=(), shapes=())
    return replace(task, template=template, inputs=(*task.inputs, *extra), extra=extra)
