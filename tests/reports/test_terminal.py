"""Printed output: whole numbers on any terminal, and commands that can be pasted into a shell."""

import shlex
from pathlib import Path

import pytest

from llmkit.reports import terminal
from llmkit.runtime.console import make_console
from llmkit.scoring.scores import SystemResult
from llmkit.tasks import get_task

TABLE = {
    "fine-tuned": {"rougeL": 64.16, "rouge1": 64.22, "rouge2": 41.46, "rougeLsum": 64.17},
    "copy of the source": {"rougeL": 15.01, "rouge1": 25.98, "rouge2": 6.99, "rougeLsum": 22.43},
}


@pytest.mark.parametrize("width", [24, 40, 60, 80, 200])
def test_scores_are_never_truncated_at_any_terminal_width(width):
    console = make_console()
    console.width = width
    task = get_task("summarize")
    table = {label: SystemResult(scores) for label, scores in TABLE.items()}
    with console.capture() as captured:
        terminal.show_scores(console, task, "1 test row", table)
    text, *_ = captured.get().partition(task.signature())  # prose may wrap
    for scores in TABLE.values():
        for score in scores.values():
            assert f"{score:.2f}" in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())


@pytest.mark.parametrize(
    ("nums_rows", "expected"),
    [
        ([200, 50], ["its 95% interval"]),
        ([200, 2], ["its 95% interval", "no interval for fewer than 10 rows"]),
        ([2], ["no interval for fewer than 10 rows"]),
    ],
)
def test_the_note_explains_intervals_and_their_absence(nums_rows, expected):
    note = terminal.interval_note(nums_rows)
    assert all(part in note for part in expected)
    assert ("its 95% interval" in note) == (max(nums_rows) >= 10)


@pytest.mark.parametrize(
    ("task", "verb", "arguments"),
    [
        ("summarize", "generate", ["--prompt", "TEXT"]),
        ("chat", "chat", []),
        ("pretrain", "generate", ["--prompt", "TEXT"]),
        ("qa", "generate", ["--input", "rows.csv", "--output", "predictions.csv"]),
        ("classify", "generate", ["--input", "rows.csv", "--output", "predictions.csv"]),
    ],
)
@pytest.mark.parametrize("run", ["runs/mine", "runs/my rün's", "runs/$HOME;ls"])
def test_the_command_to_use_a_run_can_be_pasted_into_a_shell(task, verb, arguments, run):
    command = terminal.command_to_use(Path(run), get_task(task))
    assert shlex.split(command) == ["llmkit", verb, "--model", run, *arguments]
