"""The definition of a task: it turns a row into a prompt and a completion, and scores predictions.

A task knows neither tokens nor models. A row is a dict of the task's columns. An `Example` is the
same row with its prompt and completion kept apart, so that it is always known which text is
supervised.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from llmkit.metrics import RowStatistics, corpus_scores, describe, resolve_settings, row_statistics
from llmkit.metrics.labels import label_of
from llmkit.metrics.prediction import Prediction

Row = Mapping[str, Any]  # the task's columns, "id", and "where" (file:line)
Scores = dict[str, float]
Output = Literal["completion", "label", "text"]
PLACEHOLDER = re.compile(r"\{(\w+)\}")
SECTION = re.compile(r"\{#(\w+)\}(.*?)\{/\1\}", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt."""

    text: str
    is_truncatable: bool = False
    """Truncated at its end if the example is too long: the source, never the instruction."""
    is_from_row: bool = False
    """Text of the row, not of the template."""
    is_source: bool = False
    """Part of the row's source, which is in one split only when rows are held out by hash."""
    ends_turn: bool = False
    """Followed by an end-of-text: an answer of the assistant in an earlier turn."""
    is_supervised: bool = False
    """Whether the loss covers the segment and the end-of-text after it."""
    turn: int | None = None
    """Number of the turn in a conversation; if the example is too long, whole turns are dropped,
    the oldest first."""


@dataclass(frozen=True)
class Example:
    """A row as the model sees it: prompt segments, the completion, and what scoring needs."""

    id: str
    prompt: list[Segment]
    completion: str
    """Starts with the space that separates it from the prompt; end-of-text follows it."""
    references: list[str]
    """All accepted answers; the model is trained on the first."""
    where: str = ""
    """Location of the row (file:line), for messages."""
    ignored: tuple[str, ...] = ()
    """Fields of the row's messages that are not read."""
    is_unanswerable: bool = False
    """Whether the row has no answer: the completion is empty, only end-of-text is supervised."""

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


@dataclass(frozen=True)
class ChatFormat:
    """The conversion of a conversation into text, for a task without a template."""

    parse: Callable[[Any], tuple[list[Segment], str, tuple[str, ...]]]
    """Returns the prompt, the answer and the names of ignored fields of a row's messages; raises
    ValueError with a message for the user."""
    parse_prompt: Callable[[Any], list[Segment]]
    """Returns the prompt of messages that may lack an answer; raises ValueError like `parse`."""
    prompt_from_text: Callable[[str], list[Segment]]
    """Returns the prompt for a typed text."""
    template: str
    """Jinja template with which `tokenizer.apply_chat_template` renders the same prompts."""
    ollama_template: str
    """Go template with which Ollama renders the same prompts; END stands for end-of-text."""


@dataclass(frozen=True)
class Task:
    """One task: its columns, its prompt, its scores and its baselines."""

    name: str
    inputs: tuple[str, ...]
    """Columns that hold one text each."""
    target: str
    """Column to predict: a text, or a list of accepted texts."""
    truncatable_input: str
    """The input that is truncated if a row is too long; every template has to contain it."""
    template: str
    """The prompt with {column} placeholders and {#column}...{/column} sections; it ends without
    white space."""
    scores: dict[str, bool]
    """Names of the scores, the deciding one first, and whether higher is better."""
    output: Output = "completion"
    """Kind of output: a `completion` of the prompt; a `label`, the most likely of those in the
    training rows; or `text`: the whole row is supervised, without a prompt, and scored by its
    loss."""
    metrics: tuple[str, ...] = ()
    """Modules of llmkit.metrics that compute the scores, with settings after a colon; none for
    `text`."""
    optional_inputs: tuple[str, ...] = ()
    """Inputs that a row may lack."""
    truncated_first: str | None = None
    """An optional input that is truncated instead of `truncatable_input` in rows that have it."""
    paired_input: str | None = None
    """An optional input next to `truncatable_input`; the longer of the two is truncated."""
    template_inputs: tuple[str, ...] = ()
    """Inputs that only the user's template names: any other columns of the data."""
    baselines: dict[str, Callable[[Row], str]] = field(default_factory=dict)
    """Predictions made without a model, by name."""
    majority_baseline: str | None = None
    """Name of one more baseline: the most frequent answer of the training rows."""
    extract_answer: Callable[[str], str] = str.strip
    """Returns the part of a completion that the majority baseline counts as its answer."""
    chat: ChatFormat | None = None
    """Format of the conversation in `target`; None for tasks with a template."""
    accepted_shapes: tuple[str, ...] = ()
    """Kinds of shapes that rows may have instead of the task's own columns, tried in this order:
    `pair`, `conversation`, `text`, `sentences` (llmkit/data/shapes.py)."""
    allows_no_answer: bool = False
    """Whether a question may have no answer, so that an empty prediction is right."""
    has_reference_lists: bool = False
    """Whether a cell of a table that holds a list of texts, as pandas writes it, is a list of
    references rather than a text in brackets."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.inputs, self.target)

    @property
    def source_inputs(self) -> tuple[str, ...]:
        """Inputs that make up a row's source; the first that has text is truncated."""
        inputs = (self.truncated_first, self.truncatable_input)
        return tuple(name for name in inputs if name is not None)

    @property
    def shown_prompt(self) -> str | None:
        """The prompt with {placeholders} for the row's texts; None for a task without prompts."""
        if self.output == "text":
            return None
        if self.chat is not None:
            return "".join(segment.text for segment in self.chat.prompt_from_text("{user}"))
        return self.template

    @property
    def score_names(self) -> list[str]:
        """The scores in the order in which they are shown, the loss last."""
        return list(dict.fromkeys([*self.scores, "loss"]))

    def row_statistics(
        self, predictions: Sequence[Prediction], references: Sequence[list[str]]
    ) -> RowStatistics:
        """The contribution of each row to the scores, by metric."""
        return {name: row_statistics(name, predictions, references) for name in self.metrics}

    def score(self, predictions: Sequence[Prediction], references: Sequence[list[str]]) -> Scores:
        """The scores of predictions, given the accepted texts of each."""
        scores = corpus_scores(self.row_statistics(predictions, references))
        return {
            name: scores[name].item() for name in self.scores if np.isfinite(scores[name]).all()
        }

    def with_metrics_for(self, references: Sequence[list[str]]) -> "Task":
        """The task with metrics whose settings fit the language of these references."""
        metrics = tuple(resolve_settings(name, references) for name in self.metrics)
        return replace(self, metrics=metrics)

    def signature(self) -> str:
        """The settings of the metrics that are needed to reproduce the scores, in one line."""
        return "; ".join(map(describe, self.metrics))


def to_example(row: Row, task: Task) -> Example:
    """The row as prompt segments, completion and references."""
    where = row.get("where") or f"row {row['id']}"
    if task.chat is not None:
        segments, answer, ignored = task.chat.parse(row[task.target])
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

    Other columns, such as those of `evaluation.by`, are left out.
    """
    if task.chat is not None:
        example = to_example(row, task)
        return [example.prompt_text, example.completion]
    values = [row[name] for name in task.columns]
    return [value if isinstance(value, str) else "\n".join(value) for value in values]


def prompt_segments(row: Row, task: Task) -> list[Segment]:
    """The task's template filled with the row's texts, in which placeholders mean nothing.

    The space before a placeholder becomes part of the text that replaces it: GPT-2's tokens begin
    with their space, so the tokens of the segments are those of the whole prompt. An empty text is
    removed together with the white space before it.
    """
    with_text = (name for name in task.source_inputs if row.get(name, "").strip())
    truncatable = (next(with_text, task.truncatable_input), task.paired_input)
    segments, space = [], ""
    for position, part in enumerate(PLACEHOLDER.split(_resolve_sections(task.template, row))):
        if position % 2:  # odd parts are the names between braces
            text = row[part].strip()
            text = space + text if text else ""
            segments.append(
                Segment(
                    text,
                    is_truncatable=part in truncatable,
                    is_from_row=True,
                    is_source=part in task.source_inputs,
                )
            )
            space = ""
        else:
            text = part.rstrip()
            space = part[len(text) :]
            segments += [Segment(text)] if text else []
    return segments


def _resolve_sections(template: str, row: Row) -> str:
    """The template with the content of the sections whose column has text in this row, and without
    the other sections."""

    def content(section: re.Match) -> str:
        return section[2] if row.get(section[1], "").strip() else ""

    while (resolved := SECTION.sub(content, template)) != template:
        template = resolved
    return template
