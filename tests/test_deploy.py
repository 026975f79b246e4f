"""The templates in deploy/: each is run with stand-ins for the programs of its cluster."""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from runs import SHORT

from llmkit.cli import main
from llmkit.runtime import ranks
from llmkit.runtime.launch import free_port

DEPLOY = Path(__file__).parent.parent / "deploy"
# A program that writes down how it was called, and ends with $EXIT_CODE.
RECORDER = """#!/usr/bin/env bash
printf -v call '%q ' "${0##*/}" "$@"
echo "$call" >>"$CALLS"  # one write, since several may be called at the same time
[ "${0##*/}" != scontrol ] || exit 0
exit "${EXIT_CODE:-0}"
"""
# ssh without a network: the options and the host are dropped.
LOCAL_SSH = """#!/usr/bin/env bash
shift 2
exec bash -c "$*"
"""


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Programs in front of $PATH; returns a function that reads how they were called."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    for name in ("srun", "scontrol", "torchrun"):
        (folder / name).write_text(RECORDER)
    (folder / "ssh").write_text(LOCAL_SSH)
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.chdir(tmp_path)
    return lambda: [shlex.split(line) for line in sorted(calls.read_text().splitlines())]


def bash(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", DEPLOY / script, *map(str, arguments)],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def parse(command: list[str]) -> None:
    """Check that llmkit takes a command: its recipe and keys, and its options."""
    assert command[:2] == ["llmkit", "finetune"]
    result = CliRunner().invoke(main, [*command[1:], "--help"])
    assert result.exit_code == 0, result.output
    options = set(re.findall(r"--[a-z-]+", result.output))
    assert {word for word in command if word.startswith("--")} <= options


@pytest.mark.parametrize("script", ["slurm.sbatch", "two-hosts.sh"])
def test_scripts_have_no_syntax_error(script):
    checked = subprocess.run(["bash", "-n", DEPLOY / script], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(("code", "is_requeued"), [(0, False), (1, False), (2, False), (143, True)])
def test_a_slurm_job_is_queued_again_after_its_time_limit_only(stand_ins, code, is_requeued):
    job = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4", "EXIT_CODE": str(code)}
    done = bash("slurm.sbatch", "summarize", "seed=1", **job)
    assert (done.returncode, done.stderr) == (code, "")
    *requeued, (srun, kill, *command) = stand_ins()
    assert (srun, kill) == ("srun", "--kill-on-bad-exit=0")
    parse(command)
    run = ["--run-dir", "runs/slurm-7", "--resume", "auto"]
    assert command[2:] == ["summarize", "seed=1", *run]
    assert requeued == ([["scontrol", "requeue", "7"]] if is_requeued else [])


def test_a_slurm_job_asks_for_a_signal_to_each_process_and_for_a_process_per_gpu():
    text = (DEPLOY / "slurm.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)$", text, re.MULTILINE))
    assert len(options) == text.count("#SBATCH")
    name, seconds = options["signal"].split("@")
    assert hasattr(signal, f"SIG{name}"), "B:TERM would reach the script alone"
    assert int(seconds) > 60
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert options["requeue"] == ""


def test_pods_of_a_kubernetes_job_find_each_other(monkeypatch):
    service, job = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    index = container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(variables["WORLD_SIZE"])
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == (
        "None",
        True,
    )
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert pod["subdomain"] == service["metadata"]["name"]
    assert variables["MASTER_ADDR"] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert int(variables["MASTER_PORT"]) == service["spec"]["ports"][0]["port"]
    assert pod["restartPolicy"] == "Never", "as a podFailurePolicy needs"
    fails_at = [rule["onExitCodes"]["values"] for rule in spec["podFailurePolicy"]["rules"]
                if rule["action"] == "FailJob"]  # fmt: skip
    assert fails_at == [[2]], "the exit code for a mistake of the user"
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    parse([*container["command"], *container["args"]])
    for number in range(spec["completions"]):
        monkeypatch.setattr(os, "environ", {**variables, "RANK": str(number)})
        ranks.join_launcher()
        assert (ranks.num_processes(), ranks.is_rank_zero()) == (2, number == 0)


def test_two_hosts_start_torchrun_on_both(stand_ins):
    done = bash("two-hosts.sh", "one", "two", 4, "summarize", "data.train=my rows.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    calls = stand_ins()
    assert [call[:4] for call in calls] == [
        ["torchrun", "--nnodes=2", f"--node-rank={number}", "--nproc-per-node=4"]
        for number in (0, 1)
    ]
    for call in calls:
        assert call[4:6] == ["--master-addr=one", "--master-port=29500"]
        assert call[-4:-2] == ["llmkit", "finetune"]
        assert call[-2:] == ["summarize", "data.train=my rows.jsonl"]
        parse(call[-4:])


def test_two_hosts_end_with_the_code_of_the_first_that_fails(stand_ins):
    assert bash("two-hosts.sh", "one", "two", 1, "summarize", EXIT_CODE="2").returncode == 2
    usage = bash("two-hosts.sh", "one")
    assert (usage.returncode, usage.stdout) == (2, "")
    assert "two-hosts.sh FIRST SECOND GPUS_PER_MACHINE RECIPE" in usage.stderr


@pytest.mark.slow
def test_two_hosts_train_a_run_on_loopback(stand_ins, tiny_gpt2, rows, tmp_path, subprocess_env):
    """With torchrun itself."""
    torchrun = tmp_path / "bin" / "torchrun"
    torchrun.write_text(f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run "$@"\n')
    environment = subprocess_env | {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    with_port = environment | {"PORT": str(free_port())}
    done = bash(
        "two-hosts.sh", "127.0.0.1", "127.0.0.1", 1, "summarize", f"model={tiny_gpt2}",
        f"data.train={rows}", *SHORT, "train.device=cpu", "--run-dir", "run", **with_port,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.json").is_file()
