"""metrics.jsonl, and the lines that a run prints."""

import io

import pytest
from rich.console import Console
from runs import strict_lines

from llmkit.training.log import RunLog
from llmkit.training.samples import Sample


@pytest.fixture
def run_log(tmp_path):
    tracked = []

    def make(every=1, run=tmp_path):
        output = io.StringIO()
        log = RunLog(run, 6, every, Console(file=output, width=200), lambda *f: tracked.append(f))
        return log, output, tracked

    return make


def step(log, number):
    figures = {"loss": 1.5, "learning_rate": 1e-3, "grad_norm": 0.5, "tokens_per_second": 123.45}
    log.step(number, **figures, tokens_seen=100 * number)


def test_first_and_last_and_every_nth_step_are_logged_printed_and_tracked(run_log, tmp_path):
    log, output, tracked = run_log(every=4)
    with log:
        for number in range(1, 7):
            step(log, number)
    lines = strict_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 4, 6]
    assert lines[0] == {
        "step": 1, "loss": 1.5, "learning_rate": 1e-3, "grad_norm": 0.5, "tokens_per_second": 123.5,
        "tokens_seen": 100,
    }  # fmt: skip
    printed = output.getvalue().splitlines()
    assert [line.partition("  ")[0] for line in printed] == ["step 1/6", "step 4/6", "step 6/6"]
    assert [number for _, number in tracked] == [1, 4, 6]


@pytest.mark.parametrize(
    ("validation_pending", "kept"),
    [
        (False, ["step 1", "validation 1", "step 2", "validation 2"]),
        (True, ["step 1", "validation 1", "step 2"]),
    ],
)
def test_resumed_log_keeps_what_will_not_come_again(run_log, tmp_path, validation_pending, kept):
    log, _, _ = run_log()
    sample = Sample("7", "Who?", ["Mara"], "Otto")
    step(log, 1)
    log.validation(1, {"loss": 1.5}, is_best=True, samples=[sample])
    step(log, 2)
    log.validation(2, {"loss": 1.0}, is_best=True, samples=[sample])
    step(log, 3)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # the process was killed here
    log.resume_from(2, validation_pending)
    lines = strict_lines(tmp_path / "metrics.jsonl")
    assert [f"{line.get('split', 'step')} {line['step']}" for line in lines] == kept
    samples = [line["step"] for line in strict_lines(tmp_path / "samples.jsonl")]
    assert samples == ([1] if validation_pending else [1, 2])


def test_skipped_steps_and_notes_are_logged_and_printed(run_log, tmp_path):
    log, output, _ = run_log()
    log.note(1, "step 1: out of memory")
    log.skipped_step(2, "step 2: the fp16 gradient overflowed")
    assert strict_lines(tmp_path / "metrics.jsonl") == [
        {"step": 1, "note": "step 1: out of memory"},
        {"step": 2, "skipped": "step 2: the fp16 gradient overflowed"},
    ]
    assert len(output.getvalue().splitlines()) == 2


def test_processes_after_the_first_write_and_print_nothing(run_log, tmp_path):
    log, output, tracked = run_log(run=None)
    with log:
        log.resume_from(0, validation_pending=False)
        step(log, 1)
        log.note(1, "a note")
        log.skipped_step(2, "a reason")
        log.validation(2, {"loss": 1.0}, is_best=True, samples=[Sample("7", "?", ["a"], "b")])
    assert (output.getvalue(), tracked, list(tmp_path.iterdir())) == ("", [], [])
