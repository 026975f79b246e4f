"""Several processes: the work of one, ended and continued together."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from rows import summary_rows, write_jsonl
from runs import HELPERS, SHORT, log_of
from stopped_runs import run_to_the_end, run_until, traces

from llmkit.config.recipe import load_recipe
from llmkit.training.checkpoint import newest

HANGS = 600  # seconds after which a process is taken to hang, however busy the machine is


def test_the_launcher_starts_the_command_in_every_process(subprocess_env, tmp_path):
    if sys.version_info >= (3, 11):  # earlier ones import it
        (tmp_path / "click.py").write_text("raise SystemExit('imported from the current folder')")
    code = (
        "import sys; from llmkit.runtime.launch import launch; sys.exit(launch(['--version'], 2))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=subprocess_env, cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("llmkit, version ")
    assert shown.stdout.count("\n") == 1, "only the first process speaks"


@pytest.mark.parametrize(
    "forks_ranks", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["forked", "imported"]
)
def test_sigterm_ends_every_process(tiny_gpt2, rows, tmp_path, fork_server, forks_ranks):
    process = fork_server.start(
        ("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
         "train.max_steps=100000", "train.log_every=1", "train.device=cpu", "--num-processes", 2,
         "--run-dir", "run"),
        cwd=tmp_path, forks_ranks=forks_ranks,
    )  # fmt: skip
    wait_for_step(process, 3)
    ranks = ranks_of(process, 2)
    process.terminate()
    process.communicate()
    assert process.returncode == 143
    found, reasons = newest(tmp_path / "run")  # one of them, the first, has saved
    assert found is not None
    assert not reasons
    assert not any(rank.is_running() for rank in ranks)


def test_torchrun_without_a_run_dir_makes_one_run(tiny_gpt2, rows, tmp_path, fork_server):
    arguments = (
        "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
        "train.device=cpu", "evaluation.samples=3",
    )  # fmt: skip
    ranks = fork_server.start_ranks(2, arguments, cwd=tmp_path)
    outputs = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert outputs[1][0] == "", "only the first process speaks"
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "metrics.json").is_file()
    samples = map(json.loads, (run / "samples.jsonl").read_text().splitlines())
    assert len({sample["id"] for sample in samples}) == 3, "each once, from either process"


def test_a_failing_process_ends_the_others(tiny_gpt2, tmp_path, fork_server):
    process = fork_server.start(
        ("finetune", "summarize", f"model={tiny_gpt2}", "data.train=none.jsonl",
         "train.device=cpu", "--num-processes", 2),
        cwd=tmp_path, forks_ranks=True,
    )  # fmt: skip
    _, errors = process.communicate()
    assert process.returncode == 2
    (line,) = errors.splitlines()
    assert line.startswith("llmkit: none.jsonl: no such file; check ")


def wait_for_step(process, step):
    for line in process.stdout:
        if line.startswith(f"step {step}/"):
            return
    raise AssertionError(process.stderr)


def ranks_of(process, count):
    """The processes that a launcher has started."""
    ranks = psutil.Process(process.pid).children()
    assert len(ranks) == count
    return ranks


def test_a_run_goes_on_with_two_processes_and_with_one_again(
    tiny_gpt2, tmp_path, fork_server, monkeypatch, trials, figure
):
    num_steps = len(trials(20, 90))
    first_stop, second_stop = num_steps // 7, num_steps * 5 // 9
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(50))
    settings = load_recipe(
        "summarize",
        overrides=(
            f"model={tiny_gpt2}", f"data.train={path}", *SHORT, f"train.max_steps={num_steps}",
            "train.mixed_precision=no", "train.global_batch_size=7", "train.micro_batch_size=2",
            "train.log_every=1", "train.learning_rate=1e-3", "train.dropout=0.0",
            "evaluation.every=10", "train.device=cpu",
        ),
    )  # fmt: skip
    run, file = tmp_path / "run", tmp_path / "run" / "recipe.yaml"
    run_to_the_end(settings, tmp_path / "whole")
    run_until(settings, run, monkeypatch, first_stop)
    fault = ["signal_at_step", second_stop - first_stop, signal.SIGTERM]
    process = fork_server.start(
        ("finetune", file, "--resume", run, "--num-processes", 2),
        cwd=tmp_path, fault=fault, forks_ranks=True,
    )  # fmt: skip
    _, errors = process.communicate()
    assert process.returncode == 143
    assert f"--resume {run} --num-processes 2" in errors
    assert "num_processes was 1, is 2" in errors
    assert "device was" not in errors
    assert newest(run)[0].name == f"step-{second_stop:08}"
    run_to_the_end(settings, run, resume=True)
    expected, reached = log_of(tmp_path / "whole"), log_of(run)
    assert reached.keys() == expected.keys()
    worst = max(abs(reached[key] - expected[key]) / max(1, expected[key]) for key in expected)
    same = sum(reached[key] == pytest.approx(expected[key], rel=1e-6) for key in expected)
    claim = "resumed on 1, then 2, then 1 process: losses and validation scores of 1 process (1e-6)"
    figure(claim, same, len(expected), f"worst {worst:.0e}")


def test_processes_repeat_a_step_together_if_one_runs_out_of_memory(
    tiny_gpt2, rows, tmp_path, fork_server
):
    settings = load_recipe(
        "summarize",
        overrides=(
            f"model={tiny_gpt2}", f"data.train={rows}", *SHORT, "train.mixed_precision=no",
            "train.dropout=0.0", "train.activation_checkpointing=false", "train.device=cpu",
        ),
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    process = fork_server.start(
        ("finetune", tmp_path / "whole" / "recipe.yaml", "--run-dir", "run", "--num-processes", 2),
        cwd=tmp_path, fault=["break_loss", 1, "memory", 1], forks_ranks=True,
    )  # fmt: skip
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    (note,) = [line["note"] for line in lines if "note" in line]
    assert note.startswith("step 1: out of memory; micro-batches of up to ")
    expected, reached = log_of(tmp_path / "whole"), log_of(tmp_path / "run")
    del reached[1, "train", "note"]
    assert reached == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [2, 3, 4])
def test_a_resume_with_several_processes_is_bit_by_bit(
    tiny_gpt2, tmp_path, fork_server, num_processes
):
    """Sums of more than two numbers depend on their order."""
    script = HELPERS / "resumed_in_processes.py"
    ranks = fork_server.start_ranks(
        num_processes, (tiny_gpt2, tmp_path), cwd=tmp_path, program=str(script)
    )
    errors = [rank.communicate()[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * num_processes, errors
    assert traces(tmp_path / "stopped") == traces(tmp_path / "whole")


@pytest.mark.slow
def test_torchrun_restarts_killed_processes_which_resume(tiny_gpt2, rows, tmp_path, subprocess_env):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", "2", "--max-restarts", "1", "-m", "llmkit"]  # fmt: skip
    arguments = [
        "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
        "train.max_steps=200", "checkpoint.every=5", "evaluation.every=1000",
        "train.device=cpu", "--run-dir", "run",
    ]  # fmt: skip
    agent = subprocess.Popen(
        [*torchrun, *arguments], cwd=tmp_path, env={**subprocess_env, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines, victim = [], None
    for line in agent.stdout:
        lines.append(line)
        if victim is None and newest(tmp_path / "run")[0]:
            workers = psutil.Process(agent.pid).children()
            (victim,) = [each for each in workers if each.environ().get("RANK") == "1"]
            victim.kill()
    assert agent.wait() == 0, lines
    assert any(line.startswith("resume  after step ") for line in lines), lines
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize(
    "victim", ["a process", pytest.param("the launcher", marks=pytest.mark.slow)]
)
def test_one_that_is_killed_takes_the_others_with_it(
    tiny_gpt2, rows, tmp_path, fork_server, victim, tally
):
    passed = tally(
        "SIGKILL to one of several processes or to the launcher: the others exit and an intact "
        "checkpoint remains"
    )
    arguments = (
        "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
        "train.max_steps=100000", "train.log_every=1", "checkpoint.every=5",
        "train.device=cpu", "--num-processes", 2, "--run-dir", "run",
    )  # fmt: skip
    process = fork_server.start(arguments, cwd=tmp_path, forks_ranks=True)
    wait_for_step(process, 12)
    ranks = ranks_of(process, 2)
    os.kill(ranks[1].pid if victim == "a process" else process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode in (9, 1, -signal.SIGKILL)
    assert len(errors.splitlines()) == 1, errors
    psutil.wait_procs(ranks, timeout=HANGS)
    assert not any(rank.is_running() for rank in ranks)
    found, reasons = newest(tmp_path / "run")
    assert found is not None
    assert not reasons
    passed()
