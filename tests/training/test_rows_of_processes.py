"""Runs of several processes on prepared text: each step trains on the rows of a single process."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rows import write_jsonl
from runs import HELPERS, log_of
from texts import write_texts

STEPS = 30


@pytest.fixture
def prepared(llmkit, tmp_path, tiny_gpt2):
    """A recipe of a prepared folder mixed with another text, of which an epoch is 20 steps."""
    path = write_texts(tmp_path / "texts.jsonl", 150)
    assert not llmkit("prepare", "pretrain", f"data.train={path}", f"model={tiny_gpt2}",
                      "data.max_length=32", "--output", "tokens").exit_code  # fmt: skip
    notes = [{"text": f"Note {i}: the gate was open for {i * i} days."} for i in range(60)]
    write_jsonl(tmp_path / "notes.jsonl", notes)
    return (
        "pretrain", f"model={tiny_gpt2}", f"data.train={tmp_path / 'tokens'}",
        "data.max_length=32", "data.mix.notes.share=0.3",
        f"data.mix.notes.train={tmp_path / 'notes.jsonl'}", f"train.max_steps={STEPS}",
        "train.global_batch_size=16", "train.dropout=0.0", "train.mixed_precision=no",
        "train.log_every=1", "train.device=cpu", "evaluation.every=10",
        "evaluation.validation_rows=4", "evaluation.test_rows=4", "checkpoint.every=7",
    )  # fmt: skip


@pytest.fixture
def train(tmp_path, subprocess_env):
    """Start `finetune` in processes of torchrun, each of which records its rows in `file`."""

    def start(num_processes, file, *arguments):
        command = (
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
            num_processes, HELPERS / "recorded_rows.py", tmp_path / file, "finetune", *arguments,
        )  # fmt: skip
        return subprocess.Popen(
            [*map(str, command)], cwd=tmp_path, env={**subprocess_env, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    return start


def rows_of(folder: Path, file: str) -> dict[int, list[Counter]]:
    """The rows of each process, by step."""
    steps: dict[int, list[Counter]] = {}
    for path in sorted(folder.glob(f"{file}-*")):
        for step, digests in map(json.loads, path.read_text().splitlines()):
            steps.setdefault(step, []).append(Counter(digests))
    return steps


@pytest.mark.slow
def test_any_number_of_processes_trains_on_the_same_rows(train, prepared, tmp_path):
    for num_processes in (1, 2, 4):
        process = train(num_processes, f"by-{num_processes}", *prepared, "--run-dir",
                        f"run-{num_processes}")  # fmt: skip
        output = process.communicate()[0]
        assert process.returncode == 0, output
    num_rows = int(re.search(r"in ([\d,]+) encoded rows", output)[1].replace(",", ""))
    assert num_rows < 16 * STEPS, "the run reaches the second epoch"
    alone = {step: rows for step, (rows,) in rows_of(tmp_path, "by-1").items()}
    assert [*alone] == [*range(STEPS)]
    assert alone[0].total() == 16
    assert len({frozenset(rows) for rows in alone.values()}) == STEPS
    expected = log_of(tmp_path / "run-1")
    for num_processes in (2, 4):
        steps = rows_of(tmp_path, f"by-{num_processes}")
        assert {len(by_process) for by_process in steps.values()} == {num_processes}
        # Sums of multisets: a row that two processes train on counts twice.
        assert {step: sum(by_process, Counter()) for step, by_process in steps.items()} == alone
        assert log_of(tmp_path / f"run-{num_processes}") == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_resumed_run_of_another_number_of_processes_goes_on_with_the_same_rows(
    train, prepared, tmp_path
):
    assert train(1, "whole", *prepared, "--run-dir", "whole").wait() == 0
    for number, (num_processes, last) in enumerate([(2, 8), (4, 17), (1, STEPS)]):
        resume = ("--resume", "run") if number else ("--run-dir", "run")
        recipe = ("run/recipe.yaml",) if number else prepared
        process = train(num_processes, f"part{number}", *recipe, *resume)
        for line in process.stdout:
            if line.startswith(f"step {last}/") and last < STEPS:
                process.send_signal(signal.SIGTERM)
        process.wait()
    whole = {step: rows for step, (rows,) in rows_of(tmp_path, "whole").items()}
    parts = [rows_of(tmp_path, f"part{number}") for number in range(3)]
    assert [len(next(iter(part.values()))) for part in parts] == [2, 4, 1]
    first_steps = [min(part) for part in parts]
    assert 0 == first_steps[0] < first_steps[1] < first_steps[2]
    trained = {step: sum(by, Counter()) for part in parts for step, by in part.items()}
    assert trained == whole
    assert log_of(tmp_path / "run") == pytest.approx(log_of(tmp_path / "whole"), rel=1e-6)
