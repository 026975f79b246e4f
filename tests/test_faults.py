"""Runs that are killed, signalled or run out of space at any moment: no checkpoint is lost, and the
restarted run ends bit-identical to an undisturbed one.

Every run is the command `llmkit finetune RECIPE --run-dir RUN --resume auto`, restarted until it
has finished.
"""

import json
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

import pytest
import yaml
from proofs import in_parts
from rows import summary_rows, write_jsonl
from safetensors.torch import load_file
from stopped_runs import traces

from llmkit.training.checkpoint import newest

KILLED, ALARMED = -signal.SIGKILL, -signal.SIGALRM
STEPS = 12
ATTEMPTS = 12  # to finish a run
SAME_END = "a restart ends bit-identical to the undisturbed run"
GRACE = 2.0  # seconds from a request to stop to the exit, in addition to a step


@dataclass(frozen=True)
class Start:
    """One start of the command, and how it ended."""

    code: int
    seconds: float
    message: str
    """The output on stderr."""
    after_fault: float
    """Seconds from the fault, if it recorded its time, to the exit."""


class Runs:
    """Starts `llmkit finetune RECIPE --run-dir RUN --resume auto`, each time with a fault."""

    def __init__(self, server, recipe):
        self.server, self.recipe = server, recipe

    def run(self, run, fault=None, recipe=None):
        arguments = ["finetune", recipe or self.recipe, "--run-dir", run, "--resume", "auto"]
        moment = run.parent.with_name(f"{run.parent.name}.moment")
        moment.write_text("0")
        environment = {
            **self.server.environment, "TOKENIZERS_PARALLELISM": "false",
            "FAULT_RUN": str(run), "FAULT_MOMENT": str(moment),
        }  # fmt: skip
        kill_after = fault[1] if fault and fault[0] == "kill_after" else None
        started = time.monotonic()
        process = self.server.start(
            arguments, cwd=run.parents[1], environment=environment,
            fault=fault if kill_after is None else None,
        )  # fmt: skip
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        _, message = process.communicate()
        ended = time.monotonic()
        after_fault = ended - float(moment.read_text())
        return Start(process.returncode, ended - started, message, after_fault)


def write_recipe(folder, tiny_gpt2, every=3, evaluate_every=4, keep=2, **train):
    path = write_jsonl(folder / "rows.jsonl", summary_rows(30))
    content = {
        "task": "summarize",
        "model": str(tiny_gpt2),
        "data": {"max_length": 96, "train": str(path), "validation": str(path), "test": str(path)},
        "train": {
            "max_steps": STEPS, "global_batch_size": 8, "micro_batch_size": 3, "log_every": 1,
            "learning_rate": 1e-3, "dropout": 0.1, "mixed_precision": "no", **train,
        },
        "checkpoint": {"every": every, "keep": keep},
        "evaluation": {"every": evaluate_every, "validation_rows": 2, "test_rows": 2},
        "generation": {"max_new_tokens": 2},
    }  # fmt: skip
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="module")
def runs(fork_server, tmp_path_factory, tiny_gpt2):
    return Runs(fork_server, write_recipe(tmp_path_factory.mktemp("recipe"), tiny_gpt2))


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """Traces of an undisturbed run, and its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    runs.run(folder / "first" / "run")  # rows are cached now
    start = runs.run(folder / "second" / "run")
    assert start.code == 0, start
    return traces(folder / "second" / "run"), start.seconds


@pytest.fixture(scope="module")
def short(runs, tmp_path_factory, tiny_gpt2):
    """Recipe and traces of a run that is short enough to fail at every file-system call: its saves
    write a checkpoint, another one of the same step and the best weights twice, and prune."""
    folder = tmp_path_factory.mktemp("short")
    recipe = write_recipe(folder, tiny_gpt2, every=2, evaluate_every=2, keep=1, max_steps=4)
    assert runs.run(folder / "whole" / "run", recipe=recipe).code == 0
    return recipe, traces(folder / "whole" / "run")


@pytest.fixture
def ends_as_whole(runs, whole, tmp_path):
    """Restart a run, each time with the next fault, until it has finished. Returns whether it ended
    bit-identical to the undisturbed run, and all starts."""
    numbers = iter(range(10**9))

    def go(*faults, between=lambda run: None, of=(runs.recipe, whole[0])):
        recipe, expected = of
        run = tmp_path / str(next(numbers)) / "run"
        run.parent.mkdir()
        starts = []
        for fault in (*faults, *[None] * ATTEMPTS):
            had_one = newest(run)[0]
            starts.append(runs.run(run, fault, recipe))
            code = starts[-1].code
            if code == 0 or (code == 2 and "has finished" in starts[-1].message):
                is_same = traces(run) == expected
                if is_same:
                    shutil.rmtree(run.parent)
                return is_same, starts
            if had_one and not newest(run)[0]:
                break  # the last intact checkpoint is lost
            between(run)
        return False, starts

    return go


def is_one_line(message):
    """Whether stderr holds exactly one error line; warnings do not count."""
    lines = [line for line in message.splitlines() if not line.startswith("warning: ")]
    return len(lines) == 1 and lines[0].startswith("llmkit: ")


@in_parts(10)
def test_runs_killed_at_random_end_identical(ends_as_whole, whole, trials, figure, part):
    tried, reached, kills = trials(1, 35), 0, 0
    generator = random.Random(part)
    for _ in tried:
        hits = 0
        while not hits:  # a run may finish before the kill
            faults = [
                ["kill_after", generator.uniform(0.05, whole[1])]
                for _ in range(generator.randint(1, 5))
            ]
            same, starts = ends_as_whole(*faults)
            hits = sum(each.code == KILLED for each in starts)
            assert same
        kills += hits
        reached += same
    claim = f"SIGKILL at random moments, up to five times: {SAME_END}"
    figure(claim, reached, len(tried), kills=kills)


@in_parts(10)
def test_runs_killed_during_a_save_end_identical(ends_as_whole, trials, figure, part):
    tried, reached, kills = trials(1, 15), 0, 0
    generator = random.Random(part)
    for _ in tried:
        codes = []
        while ALARMED not in codes:  # a save may finish before the alarm
            fault = ["kill_in_save", generator.randint(1, 9), generator.expovariate(1 / 0.003)]
            same, starts = ends_as_whole(fault)
            codes = [each.code for each in starts]
            assert same
        kills += codes.count(ALARMED)
        reached += same
    claim = f"killed by SIGALRM during a save: {SAME_END}"
    figure(claim, reached, len(tried), kills=kills)


@in_parts(10)
def test_runs_killed_at_each_call_of_a_save_end_identical(
    ends_as_whole, short, trials, figure, part
):
    """Each part tries every tenth call, until the run has no more calls; together they try all."""
    calls = 1 + part
    reached = tried = 0
    for trial in trials(2, 10**6):
        fault = ["kill_at_call", calls + trial * len(trials(41, 10))]
        same, starts = ends_as_whole(fault, of=short)
        if starts[0].code == 0 and same:
            break  # that was behind the last one
        tried += starts[0].code == KILLED
        reached += same and starts[0].code == KILLED
        assert reached == trial + 1
    assert tried
    claim = f"SIGKILL at each file-system call of each save: {SAME_END}"
    figure(claim, reached, tried)


def put_power_back(run):
    """Replace the run by what was on disk; a checkpoint whose save had returned must be intact."""
    after = run.parent.with_name(f"{run.parent.name}.after")
    if after.is_dir():
        shutil.rmtree(run.parent)
        after.rename(run.parent)
        saved = (run.parent / "saved").read_text()
        found, _ = newest(run)
        assert not saved or (found is not None and found.name >= saved)


@pytest.mark.parametrize("is_all_lost", [True, False], ids=["all lost", "some lost"])
@in_parts(10)
def test_runs_that_lose_power_end_identical(
    ends_as_whole, short, trials, figure, part, is_all_lost
):
    """Unsynced data is lost, all of it or a random part."""
    call, tried, reached = 1 + part, 0, 0
    for trial in trials(2, 10**6):
        fault = ["lose_power", call, 0 if is_all_lost else call]
        same, starts = ends_as_whole(fault, between=put_power_back, of=short)
        if starts[0].code == 0 and same:
            break  # that was behind the last one
        tried += starts[0].code == KILLED
        reached += same and starts[0].code == KILLED
        assert reached == trial + 1
        call += len(trials(59, 10))
    assert tried
    what = "all unsynced data" if is_all_lost else "a random part of the unsynced data"
    claim = f"power loss at each file-system call of each save, {what} lost: {SAME_END}"
    figure(claim, reached, tried)


@pytest.mark.parametrize("phase", ["tokenize", "train", "evaluate", "save"])
def test_signals_stop_a_run_in_time_with_one_line(ends_as_whole, trials, figure, is_quick, phase):
    tried, reached, slowest = trials(1, 25), 0, 0.0
    generator = random.Random(phase)
    for _ in tried:
        number = generator.choice([signal.SIGTERM, signal.SIGINT])
        same, starts = ends_as_whole(["send_signal", number, phase, generator.uniform(0, 0.05)])
        first, *others = starts
        slowest = max(slowest, first.after_fault)
        is_right = first.code == 128 + number and is_one_line(first.message)
        reached += same and is_right and is_quick(first.after_fault, GRACE) and len(others) == 1
    claim = (
        f"SIGTERM or SIGINT during {phase}: exit code 143 or 130 within 2 s and a one-line "
        f"message; {SAME_END}"
    )
    figure(claim, reached, len(tried), f"slowest {slowest:.1f} s")


@pytest.mark.parametrize("what", ["checkpoint", "export", "log"])
def test_a_file_without_space_ends_the_run_in_one_line(ends_as_whole, trials, figure, what):
    """Limit the file size, from 0 up to that of the largest file."""
    tried = list(trials(2, 40))
    generator = random.Random(what)
    largest = {"checkpoint": 330_000, "export": 165_000, "log": 120}[what]
    reached = stopped = 0
    for number in tried:
        num_bytes = largest * number // len(tried)
        fault = ["fill_disk", what, generator.randint(1, STEPS if what == "log" else 4), num_bytes]
        same, (first, *_) = ends_as_whole(fault)
        stopped += first.code == 1
        is_right = first.code == 0 or (first.code == 1 and is_one_line(first.message))
        reached += same and is_right
    assert stopped
    claim = (
        f"no space for the {what} (limits from nothing to enough): one-line error, nothing lost; "
        f"{SAME_END}"
    )
    figure(claim, reached, len(tried), stopped=stopped)


@pytest.fixture
def small_disk(tmp_path):
    """A folder, and a function that mounts a small file system on it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no right to mount a file system")

    yield folder, mount
    subprocess.run(["umount", str(folder)], capture_output=True)


def test_a_full_disk_ends_the_run_in_one_line(runs, whole, small_disk, trials, figure):
    folder, mount = small_disk
    tried, reached, stopped = trials(2, 40), 0, 0
    for number in tried:
        mount(f"size={(3_000 * (1 + number) // len(tried))}k")
        run = folder / "run"
        first = runs.run(run)
        subprocess.run(["mount", "-o", "remount,size=50m", str(folder)], check=True)
        stopped += first.code != 0
        is_right = first.code == 0 or (first.code in (1, 2) and is_one_line(first.message))
        again = runs.run(run) if first.code else first
        reached += is_right and again.code == 0 and traces(run) == whole[0]
        subprocess.run(["umount", str(folder)], check=True)
    assert stopped
    claim = f"disk full (sizes from nothing to enough): one-line error, nothing lost; {SAME_END}"
    figure(claim, reached, len(tried), stopped=stopped)


@pytest.mark.parametrize(
    ("fault", "claim"),
    [
        (
            "make_read_only",
            f"disk read-only from some step on: one-line error, nothing lost; {SAME_END}",
        ),
        (
            "remove_run",
            f"run folder deleted during training: one-line error; {SAME_END}",
        ),
    ],
)
def test_a_lost_run_folder_ends_the_run_in_one_line(ends_as_whole, trials, figure, fault, claim):
    tried, reached = trials(1, STEPS), 0
    for number in tried:
        same, (first, *_) = ends_as_whole([fault, 1 + number])
        reached += same and first.code == 1 and is_one_line(first.message)
    figure(claim, reached, len(tried))


def test_a_jumping_clock_does_not_change_a_run(ends_as_whole, trials, figure):
    tried, reached, kills = trials(1, 20), 0, 0
    generator = random.Random(0)
    for seed in tried:
        same, starts = ends_as_whole(
            ["shift_clock", seed, generator.uniform(0.3, 1)], ["shift_clock", seed + 1]
        )
        reached += same
        kills += sum(each.code == KILLED for each in starts)
    claim = f"clock jumps by days, file times are shuffled, and SIGKILL: {SAME_END}"
    figure(claim, reached, len(tried), kills=kills)


def test_a_nan_loss_stops_the_run_before_the_weights_change(ends_as_whole, trials, figure):
    tried, reached = trials(1, 50), 0
    generator = random.Random(0)
    for _ in tried:
        step = generator.randint(1, STEPS)
        finite = []

        def look(run, finite=finite):
            for path in [*run.rglob("*.safetensors")]:
                finite.append(all(value.isfinite().all() for value in load_file(path).values()))

        same, (first, *_) = ends_as_whole(["break_loss", step, "nan"], between=look)
        is_right = first.code == 1 and is_one_line(first.message)
        reached += (
            same and is_right and f"step {step}: the loss is nan" in first.message and all(finite)
        )
    claim = f"NaN loss: stopped before the weights change, with a one-line error; {SAME_END}"
    figure(claim, reached, len(tried))


@pytest.fixture(scope="module")
def without_dropout(runs, tmp_path_factory, tiny_gpt2):
    """A recipe whose losses do not depend on micro-batches, and the losses of its run."""
    folder = tmp_path_factory.mktemp("without-dropout")
    recipe = write_recipe(folder, tiny_gpt2, dropout=0.0)
    assert runs.run(folder / "whole" / "run", recipe=recipe).code == 0
    return recipe, losses(folder / "whole" / "run")


def losses(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_out_of_memory_halves_the_micro_batches(runs, without_dropout, tmp_path, trials, figure):
    recipe, expected = without_dropout
    tried, reached = trials(1, 30), 0
    generator = random.Random(0)
    for number in tried:
        run = tmp_path / str(number) / "run"
        run.parent.mkdir()
        fault = ["break_loss", generator.randint(1, STEPS), "memory"]
        first = runs.run(run, fault, recipe=recipe)
        notes = (
            (run / "metrics.jsonl")
            .read_text()
            .count("out of memory; micro-batches of up to 1 row from")
        )
        same = losses(run) == pytest.approx(expected, rel=1e-5)
        reached += first.code == 0 and notes == 1 and same
    claim = "out of memory in a step: smaller micro-batches, the same losses (1e-5)"
    figure(claim, reached, len(tried))
