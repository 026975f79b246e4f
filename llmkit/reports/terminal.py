"""What a person sees before and after training."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llmkit.data.findings import Finding
from llmkit.data.rows import Rows
from llmkit.data.shapes import Shape
from llmkit.data.sources import END_OF_DOCUMENT
from llmkit.errors import count_of, first_few
from llmkit.metrics.prediction import Prediction
from llmkit.runtime.console import show_table
from llmkit.scoring.scores import SystemResult, TestSet, confusion_of
from llmkit.scoring.significance import LEVEL, MIN_ROWS, RESAMPLES
from llmkit.scoring.verdict import verdict
from llmkit.tasks import Task

FEW_ROWS = 10  # of a split
NUM_EXAMPLES = 3
MOST_LABELS = 10  # of a confusion matrix on a terminal


def show_prompt(
    console: Console,
    shapes: dict[str, Shape | None],
    prompt: str | None,
    warnings: list[str],
    warning_console: Console,
) -> None:
    """The shape of each split's rows, the prompt made of them, and what is wrong with it."""
    splits: dict[str, list[str]] = {}
    for split, shape in shapes.items():
        if shape is not None:
            splits.setdefault(str(shape), []).append(split)
    for shape, names in splits.items():
        where = f" ({', '.join(names)})" if len(names) < len(shapes) else ""
        console.print(Text(f"shape   {shape}{where}"))
    if prompt is not None:
        console.print(Text(f"prompt  {json.dumps(prompt, ensure_ascii=False)}"))
    for warning in warnings:
        warning_console.print(Text(f"warning: {warning}", style="yellow"))


def show_held_out(
    console: Console, splits: dict[str, Rows], num_train_rows: int, sets: dict[str, TestSet]
) -> None:
    """How many of the training rows are held out, where no other rows are named."""
    held_out = [split for split in ("validation", "test") if splits[split].held_out]
    if not held_out:
        return
    counts = {split: len(sets[split].rows) for split in held_out}
    how = splits[held_out[0]].held_out
    total, few = num_train_rows + sum(counts.values()), ""
    if how == END_OF_DOCUMENT:
        what = f"{' and '.join(held_out)} {how}"
    elif any(counts[split] == splits[split].first for split in held_out):
        scored = " and ".join(f"the first {n:,} for {split}" for split, n in counts.items())
        what = f"rows {how}; {scored} are scored"
    else:
        named = " and ".join(f"{n:,} for {split}" for split, n in counts.items())
        what = f"{named} of {total:,} rows {how}"
        few = "; scores on so few rows are uncertain" if min(counts.values()) < FEW_ROWS else ""
    keys = " and ".join(f"data.{split}" for split in held_out)
    console.print(f"split   held out {what}; name {keys} to use other rows{few}")


def show_findings(console: Console, findings: list[Finding]) -> None:
    """A line each."""
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        console.print(Text(str(finding), style=styles[finding.severity]))


def show_examples(console: Console, test: TestSet, main: SystemResult) -> None:
    """A few predictions in full."""
    for example, prediction in zip(test.examples[:NUM_EXAMPLES], main.predictions, strict=False):
        console.print()
        console.print(Text(example.prompt_text, style="dim"))
        console.print(Text(f"prediction: {_said(prediction)}", style="bold"))
        console.print(Text(f"reference:  {' | '.join(example.references)}"))


def show_tables(
    console: Console, tests: dict[str, TestSet], tables: dict[str, dict[str, SystemResult]]
) -> None:
    """The scores on each test set, beside the baselines."""
    for name, test in tests.items():
        title = count_of(len(test.rows), "test row" if name == "test" else "row")
        title += "" if name == "test" else f" of {name}"
        if test.unlabeled:
            places = first_few([example.where for example in test.unlabeled])
            title += f"; {len(test.unlabeled)} without a label left out ({places})"
        show_scores(console, test.task, title, tables[name])
        if test.task.output == "label":
            show_confusion(console, test, next(iter(tables[name].values())))
    console.print(Text(interval_note(len(test.rows) for test in tests.values()), style="dim"))


def interval_note(nums_rows: Iterable[int]) -> str:
    """What the second line of each score is, or why there is none. nums_rows: of each test set."""
    nums_rows = list(nums_rows)
    parts = []
    if max(nums_rows) >= MIN_ROWS:
        parts.append(f"with each score: its {LEVEL:.0%} interval, from {RESAMPLES:,} resamples")
    if min(nums_rows) < MIN_ROWS:
        parts.append(f"no interval for fewer than {MIN_ROWS} rows: too few to estimate one")
    return "; ".join(parts)


def show_verdict(
    console: Console, table: dict[str, SystemResult], metric: tuple[str, bool]
) -> None:
    """The deciding score of the table's first entry, compared with the untuned model."""
    name, higher_is_better = metric
    scores = {label: each.scores for label, each in table.items()}
    difference = next(iter(table.values())).differences.get(name)
    console.print()
    console.print(Text(verdict(name, higher_is_better, scores, difference), style="bold"))


def show_scores(console: Console, task: Task, title: str, table: dict[str, SystemResult]) -> None:
    """A row a model or baseline, a column a score; what was not measured stays empty."""
    names = [n for n in task.score_names if any(n in each.scores for each in table.values())]
    lines = [[label, *(_cell(each, name) for name in names)] for label, each in table.items()]
    console.print(f"\n{title}")
    show_table(console, ["", *names], [lines])
    if task.output != "text":
        console.print(Text(task.signature(), style="dim"))


def show_confusion(console: Console, test: TestSet, main: SystemResult) -> None:
    """True labels down, predicted ones across."""
    confusion = confusion_of(test, main)
    labels, counts = confusion["labels"], confusion["counts"]
    if len(labels) <= MOST_LABELS:
        lines = [[label, *map(str, row)] for label, row in zip(labels, counts, strict=True)]
        show_table(console, ["true \\ predicted", *labels], [lines])


def generate_command(run: Path, task: Task) -> str:
    """The shell command that applies the run's model to new rows, or to a prompt if one text
    makes a whole prompt."""
    takes_one_text = (
        len(task.inputs) == 1 or task.prompt_from_text is not None or task.output == "text"
    )
    if task.output == "label" or not takes_one_text:
        arguments = ["--input", "rows.csv", "--output", "predictions.csv"]
    else:
        arguments = ["--prompt", "TEXT"]
    return shlex.join(["llmkit", "generate", "--model", str(run), *arguments])


def _said(prediction: Prediction) -> str:
    probability = (prediction.probabilities or {}).get(prediction.text)
    return prediction.text if probability is None else f"{prediction.text} ({probability:.1%})"


def _cell(scored: SystemResult, name: str) -> str:
    """A score, and under it its interval."""
    ends = scored.intervals.get(name)
    return f"{_format(scored.scores.get(name))}\n{_format_interval(ends)}".rstrip()


def _format(score: float | None) -> str:
    if score is None:
        return ""
    return f"{score:.2f}" if abs(score) < 1000 else f"{score:,.0f}"


def _format_interval(ends: tuple[float, float] | None) -> str:
    """Shorter than the score, so that a table of many stays narrow."""
    return "" if ends is None else "-".join(f"{end:.{1 if end >= 10 else 2}f}" for end in ends)
