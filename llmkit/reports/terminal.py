"""Terminal output before and after training and after an evaluation."""

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
from llmkit.io.safe_json import to_json
from llmkit.metrics.prediction import Prediction
from llmkit.reports.tables import score_cell
from llmkit.runtime.console import show_table
from llmkit.scoring.scores import SystemResult, TestResults, confusion_of
from llmkit.scoring.significance import CONFIDENCE_LEVEL, MIN_ROWS, NUM_RESAMPLES
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Task

MIN_SPLIT_ROWS = 10  # scores on fewer held-out rows get a warning
NUM_EXAMPLES = 3  # predictions that are printed in full
MAX_CONFUSION_LABELS = 10  # larger confusion matrices are not printed


def show_prompt(
    console: Console,
    shapes: dict[str, Shape | None],
    prompt: str | None,
    warnings: list[str],
    warning_console: Console,
) -> None:
    """Print the shape of each split's rows, the prompt made of them, and warnings about it."""
    splits: dict[str, list[str]] = {}
    for split, shape in shapes.items():
        if shape is not None:
            splits.setdefault(str(shape), []).append(split)
    for shape, names in splits.items():
        where = f" ({', '.join(names)})" if len(names) < len(shapes) else ""
        console.print(Text(f"shape   {shape}{where}"))
    if prompt is not None:
        console.print(Text(f"prompt  {to_json(prompt, ensure_ascii=False)}"))
    for warning in warnings:
        warning_console.print(Text(f"warning: {warning}", style="yellow"))


def show_held_out(
    console: Console, splits: dict[str, Rows], num_train_rows: int, sets: dict[str, TestSet]
) -> None:
    """Print how many training rows are held out, unless the recipe names other rows."""
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
        few = (
            "; scores on so few rows are uncertain" if min(counts.values()) < MIN_SPLIT_ROWS else ""
        )
    keys = " and ".join(f"data.{split}" for split in held_out)
    console.print(f"split   held out {what}; name {keys} to use other rows{few}")


def show_findings(console: Console, findings: list[Finding]) -> None:
    """Print one line per finding."""
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        console.print(Text(str(finding), style=styles[finding.severity]))


def show_examples(console: Console, results: TestResults) -> None:
    """Print a few predictions of the main system in full."""
    examples, predictions = results.test.examples, results.main_system.predictions
    for example, prediction in zip(examples[:NUM_EXAMPLES], predictions, strict=False):
        console.print()
        console.print(Text(example.prompt_text, style="dim"))
        console.print(Text(f"prediction: {_format_prediction(prediction)}", style="bold"))
        console.print(Text(f"reference:  {' | '.join(example.references)}"))


def show_results(console: Console, results: dict[str, TestResults]) -> None:
    """Print the scores of all systems on each test set."""
    for name, of_set in results.items():
        test = of_set.test
        title = count_of(len(test.rows), "test row" if name == "test" else "row")
        title += "" if name == "test" else f" of {name}"
        if test.unlabeled:
            places = first_few([example.where for example in test.unlabeled])
            title += f"; {len(test.unlabeled)} without a label left out ({places})"
        show_scores(console, test.task, title, of_set.systems)
        if test.task.output == "label":
            show_confusion(console, test, of_set.main_system)
    nums_rows = [of_set.num_resampled for of_set in results.values()]
    console.print(Text(interval_note(nums_rows), style="dim"))


def interval_note(nums_rows: Iterable[int]) -> str:
    """Explain the intervals in a table of scores, or why there are none.

    nums_rows: Number of rows of each test set that are resampled.
    """
    nums_rows = list(nums_rows)
    parts = []
    if max(nums_rows) >= MIN_ROWS:
        level, resamples = f"{CONFIDENCE_LEVEL:.0%}", f"{NUM_RESAMPLES:,} resamples"
        parts.append(f"each score with its {level} interval, from {resamples}")
    if min(nums_rows) < MIN_ROWS:
        parts.append(f"no interval for fewer than {MIN_ROWS} rows: too few to estimate one")
    return "; ".join(parts)


def show_verdict(console: Console, results: TestResults) -> None:
    """Print the outcome in one sentence."""
    console.print()
    console.print(Text(results.verdict, style="bold"))


def show_scores(console: Console, task: Task, title: str, systems: dict[str, SystemResult]) -> None:
    """Print one row per model or baseline and one column per score; unknown scores stay empty."""
    names = [n for n in task.score_names if any(n in s.scores for s in systems.values())]
    lines = [
        [label, *(score_cell(system.scores.get(n), system.intervals.get(n)) for n in names)]
        for label, system in systems.items()
    ]
    console.print(f"\n{title}")
    show_table(console, ["", *names], [lines])
    if task.output != "text":
        console.print(Text(task.signature(), style="dim"))


def show_confusion(console: Console, test: TestSet, main: SystemResult) -> None:
    """Print the confusion matrix, true labels as rows, unless it has too many labels."""
    confusion = confusion_of(test, main)
    labels, counts = confusion["labels"], confusion["counts"]
    if len(labels) <= MAX_CONFUSION_LABELS:
        lines = [[label, *map(str, row)] for label, row in zip(labels, counts, strict=True)]
        show_table(console, ["true \\ predicted", *labels], [lines])


def command_to_use(run: Path, task: Task) -> str:
    """The shell command that applies the run's model: a chat, a prompt or, if a prompt consists of
    several texts, new rows."""
    if task.chat is not None:
        return shlex.join(["llmkit", "chat", "--model", str(run)])
    takes_one_text = len(task.inputs) == 1 or task.output == "text"
    if task.output == "label" or not takes_one_text:
        arguments = ["--input", "rows.csv", "--output", "predictions.csv"]
    else:
        arguments = ["--prompt", "TEXT"]
    return shlex.join(["llmkit", "generate", "--model", str(run), *arguments])


def _format_prediction(prediction: Prediction) -> str:
    probability = (prediction.probabilities or {}).get(prediction.text)
    return prediction.text if probability is None else f"{prediction.text} ({probability:.1%})"
