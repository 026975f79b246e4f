"""What a task is: how a row becomes text to learn from, and how predictions are scored.

A task knows neither tokens nor models. A row is a dict of the task's columns; an Example is the
same row with prompt and completion apart, so that nobody ever has to search for the place where
the prompt ended.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmkit.errors import UserError, did_you_mean
from llmkit.labels import label_of
from llmkit.metrics import Tallies, describe, scores_of, tally
from llmkit.prediction import Prediction

Row = Mapping[str, Any]  # the task's columns, "id", and "where" it stands (file:line)
Scores = dict[str, float]


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt."""

    text: str
    is_shortenable: bool = False
    """Cut, from its end, when the example is too long: the source, never the instruction."""
    is_trained: bool = False
    """Learnt, with an end-of-text behind it: what the model's side said earlier."""
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

    @property
    def prompt_text(self) -> str:
        return "".join(segment.text for segment in self.prompt)


@dataclass(frozen=True)
class Task:
    """One task: its columns, its prompt, its score, its baselines."""

    name: str
    inputs: tuple[str, ...]
    """Columns that hold one text each."""
    target: str
    """Column to produce: a text, or a list of accepted texts."""
    long_input: str
    """The input that is shortened when a row is too long."""
    template: str
    """The prompt, with {column} marks; it ends without white space."""
    scores: dict[str, bool]
    """Names of the scores, the deciding one first, and whether higher is better."""
    metrics: tuple[str, ...] = ()
    """The files of llmkit.metrics that make these scores; none: the task is scored by its loss."""
    baselines: dict[str, Callable[[Row], str]] = field(default_factory=dict)
    """Answers that need no model."""
    majority: str | None = None
    """Name of one more: what the training rows answer most often."""
    answer_of: Callable[[str], str] = str.strip
    """What of a completion is its answer, there."""
    read_row: Callable[[Any], tuple[list[Segment], str]] | None = None
    """The prompt and the answer in a row's target, where that is no text behind a template; raises
    ValueError, in words for the user, where it is nothing of the kind."""
    ask: Callable[[str], list[Segment]] | None = None
    """The prompt of what someone types, where no template says it."""
    chat_template: str | None = None
    """The same prompts for `tokenizer.apply_chat_template`."""
    chooses: bool = False
    """The answer is one of the labels that the training rows have, the likeliest one."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.inputs, self.target)

    @property
    def is_language_modelling(self) -> bool:
        """All of a row's text is learnt; there is no prompt and no reference."""
        return not self.metrics

    @property
    def score_names(self) -> list[str]:
        """The scores in the order in which they are shown, the loss last."""
        return list(dict.fromkeys([*self.scores, "loss"]))

    def tally(self, predictions: Sequence[Prediction], references: Sequence[list[str]]) -> Tallies:
        """What each row adds to the scores, by metric."""
        return {name: tally(name, predictions, references) for name in self.metrics}

    def score(self, predictions: Sequence[Prediction], references: Sequence[list[str]]) -> Scores:
        """The task's scores of predictions, with the accepted texts of each."""
        made = scores_of(self.tally(predictions, references))
        return {name: made[name].item() for name in self.scores}

    def signature(self) -> str:
        """Settings that a reader needs to reproduce the scores, in one line."""
        return "; ".join(map(describe, self.metrics))


def to_example(row: Row, task: Task, template: str | None = None) -> Example:
    """The row as prompt segments, completion and references."""
    where = row.get("where") or f"row {row['id']}"
    if task.read_row is not None:
        segments, answer = task.read_row(row[task.target])
        return Example(row["id"], segments, f" {answer.strip()}", [answer.strip()], where)
    references = row[task.target]
    if isinstance(references, str):
        references = [references]
    if task.chooses:
        references = [label_of(references)]
    if task.is_language_modelling:
        return Example(row["id"], [], references[0], [], where)
    segments = prompt_segments(row, task, template or task.template)
    return Example(row["id"], segments, f" {references[0].strip()}", references, where)


def texts_of(row: Row, task: Task) -> list[str]:
    """The text in each of the row's columns; of a conversation, the prompt and the answer.

    Columns that the task does not own, such as those of `evaluation.by`, are left out.
    """
    if task.read_row is not None:
        example = to_example(row, task)
        return [example.prompt_text, example.completion]
    values = [row[name] for name in task.columns]
    return [value if isinstance(value, str) else "\n".join(value) for value in values]


def prompt_segments(row: Row, task: Task, template: str) -> list[Segment]:
    """The template with the row's texts put in. Marks inside those texts mean nothing.

    A blank before a mark goes to the text that replaces it: GPT-2's tokens begin with their
    blank, so the segments' tokens are those of the prompt typed as a whole.
    """
    segments, blank = [], ""
    for position, part in enumerate(_split_template(template)):
        if position % 2:  # the odd parts are the names between braces
            text = blank + row[part].strip()
            segments.append(Segment(text, is_shortenable=part == task.long_input))
            blank = ""
        else:
            text = part.rstrip()
            blank = part[len(text) :]
            segments += [Segment(text)] if text else []
    return segments


def check_template(template: str, task: Task) -> None:
    """Raise UserError for a template that the task cannot fill."""
    if task.is_language_modelling:
        raise UserError(
            f"template: {task.name} learns whole texts and has no prompt; leave it away"
        )
    if task.read_row is not None:
        raise UserError(f"template: {task.name} has marks of its own; leave it away")
    marks = _split_template(template)[1::2]
    for mark in marks:
        if mark not in task.inputs:
            raise UserError(
                f"template: {{{mark}}} is no input of {task.name}"
                f"{did_you_mean(mark, list(task.inputs))}; it has {', '.join(task.inputs)}"
            )
    if task.long_input not in marks:
        raise UserError(f"template: the mark {{{task.long_input}}} is missing")
    if template != template.rstrip():
        raise UserError(
            "template: it ends in white space, which the tokenizer would split from the "
            "completion's first word; end it with the cue itself"
        )


def _split_template(template: str) -> list[str]:
    return re.split(r"\{(\w+)\}", template)
