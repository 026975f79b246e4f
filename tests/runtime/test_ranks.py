"""Launchers: which process of a run this is, and those under which no run would train."""

import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest
from runs import start_ranks
from stopped_runs import run_to_the_end, run_until, six_steps, traces

from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError
from llmkit.model.load import is_path
from llmkit.runtime import ranks
from llmkit.runtime.launch import free_port
from llmkit.runtime.ranks import (
    check_launcher,
    join_launcher,
    overridden_precision,
    resume_option,
)
from llmkit.training.checkpoint import newest

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}  # fmt: skip
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
MVAPICH = {key.replace("OMPI", "MV2"): value for key, value in OPEN_MPI.items()}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
MEETING_POINT = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
# What Slurm sets for a batch script of four tasks: it runs once, as rank 0 but in no step.
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4",
                "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_GTIDS": "0"}  # fmt: skip
# What srun adds in the third of four tasks on two machines.
STEP = {"SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_STEP_NODELIST": "gpu[07-08]"}  # fmt: skip


@pytest.fixture
def environ(monkeypatch):
    """Stand in for the environment, without what a launcher of the tests may have set."""
    environ = {"PATH": os.environ["PATH"]}
    monkeypatch.setattr(os, "environ", environ)
    return environ


@pytest.mark.parametrize("given", [OPEN_MPI, HYDRA, MVAPICH])
def test_mpi_is_understood_as_torchrun_is(environ, given):
    environ |= given
    join_launcher()
    assert {name: environ[name] for name in TORCHRUN} == TORCHRUN
    assert (environ["MASTER_ADDR"], environ["MASTER_PORT"]) == ("127.0.0.1", "29500")
    assert (ranks.is_rank_zero(), ranks.num_processes(), ranks.num_local_processes()) == (
        False,
        2,
        2,
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {**TORCHRUN, **MEETING_POINT},
        {**TORCHRUN, **MEETING_POINT, **OPEN_MPI, "PMI_RANK": "0"},
        {**TORCHRUN, **MEETING_POINT, "PMI_RANK": "x"},
    ],
)
def test_other_environments_stay_as_they_are(environ, given):
    environ |= given
    before = dict(environ)
    join_launcher()
    assert environ == before


@pytest.mark.parametrize("address", [{}, {"MASTER_ADDR": ""}])
def test_processes_started_by_hand_on_one_machine_meet_on_it(environ, address):
    environ |= TORCHRUN | address
    join_launcher()
    assert environ.items() >= (TORCHRUN | MEETING_POINT).items()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"WORLD_SIZE": ""}, "WORLD_SIZE: this environment variable takes a whole number from 1"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE: .* got '0'"),
        ({"WORLD_SIZE": "1.0"}, "WORLD_SIZE: .* got '1.0'"),
        ({"RANK": ""}, "RANK: this environment variable takes a whole number from 0"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK: .* got '-1'"),
        ({**TORCHRUN, "RANK": "²"}, "RANK: .* got '²'"),
        ({**TORCHRUN, "LOCAL_RANK": "x"}, "LOCAL_RANK: .* got 'x'"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "two"}, "LOCAL_WORLD_SIZE: .* got 'two'"),
        ({**TORCHRUN, "MASTER_PORT": "http"}, "MASTER_PORT: .* from 1 to 65535, got 'http'"),
        ({**TORCHRUN, "MASTER_PORT": "65536"}, "MASTER_PORT: .* from 1 to 65535, got '65536'"),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "x"}, "^OMPI_COMM_WORLD_SIZE: .* got 'x'"),
        ({**HYDRA, "MPI_LOCALRANKID": ""}, "^MPI_LOCALRANKID: .* got ''"),
        ({"SLURM_STEP_NUM_TASKS": "x"}, "SLURM_STEP_NUM_TASKS: .* got 'x'"),
        ({**STEP, "SLURM_PROCID": "4"}, "SLURM_PROCID: .* from 0 to 3, got '4'"),
        ({**STEP, "SLURM_NODEID": "2"}, "SLURM_STEP_TASKS_PER_NODE: .* of machine 2"),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "2(x"}, "SLURM_STEP_TASKS_PER_NODE: '2.x' does"),
        ({**STEP, "SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST: names no machine"),
        ({"SLURM_STEP_NUM_TASKS": ""}, "SLURM_STEP_NUM_TASKS: .* got ''"),
        ({"WORLD_SIZE": "2"}, "RANK and LOCAL_RANK and LOCAL_WORLD_SIZE: not set by the launcher"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, "^LOCAL_WORLD_SIZE: .* set it in"),
        ({"LOCAL_RANK": "0"}, "RANK and WORLD_SIZE and LOCAL_WORLD_SIZE: not set"),
        ({"RANK": "1"}, "RANK: 1, but WORLD_SIZE is not set"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK: 1, but WORLD_SIZE is 1"),
        ({**TORCHRUN, "RANK": "2"}, "RANK: 2, but WORLD_SIZE is 2"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK: 1, but LOCAL_WORLD_SIZE is 1"),
        (
            {**MVAPICH, "MV2_COMM_WORLD_RANK": "2"},
            "MV2_COMM_WORLD_RANK: 2, but MV2_COMM_WORLD_SIZE",
        ),
    ],
)
def test_malformed_launcher_variables_are_refused_by_name(environ, given, message):
    environ |= given

    def check():
        join_launcher()
        check_launcher()

    with pytest.raises(UserError, match=message) as caught:
        check()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"])
def test_no_command_ends_in_a_traceback_on_malformed_variables(llmkit, monkeypatch, name):
    monkeypatch.setenv(name, "")
    for arguments in (("finetune", "no-such-recipe"), ("check", "classify")):
        result = llmkit(*arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
        assert result.stderr.startswith(f"llmkit: {name}: ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "4"}, "MASTER_ADDR: not set"),
        ({**TORCHRUN, "WORLD_SIZE": "4"}, "MASTER_ADDR: not set"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "LOCAL_RANK and LOCAL_WORLD_SIZE: not set"),
    ],
)
def test_mpi_that_says_too_little_is_refused(environ, given, message):
    environ |= given
    with pytest.raises(UserError, match=message):
        join_launcher()


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, 1, "enables FSDP"),
        ({"ACCELERATE_USE_FSDP": "true", **TORCHRUN}, 1, "enables FSDP"),
        ({"ACCELERATE_USE_DEEPSPEED": "True"}, 1, "enables DeepSpeed"),
        (
            {"ACCELERATE_USE_CPU": "True", **MEETING_POINT},
            1,
            "accelerate launch: on CPUs, it starts",
        ),
        ({"ACCELERATE_USE_CPU": "True"}, 1, None),
        ({"ACCELERATE_USE_CPU": "True", **MEETING_POINT, **OPEN_MPI}, 1, None),
        ({"ACCELERATE_USE_CPU": "False", **MEETING_POINT}, 1, None),
        ({"ACCELERATE_USE_DEEPSPEED": "false", **TORCHRUN}, 1, None),
        (BATCH_SCRIPT, 1, None),
        (BATCH_SCRIPT, 2, None),
        ({**BATCH_SCRIPT, **STEP}, 1, None),
        ({**BATCH_SCRIPT, **STEP}, 2, "a launcher has started 4 processes already"),
        ({**BATCH_SCRIPT, **STEP, "SLURM_STEP_NUM_TASKS": "1"}, 1, None),
        ({**BATCH_SCRIPT, **STEP, **TORCHRUN}, 1, None),
        (TORCHRUN, 2, "a launcher has started 2 processes already"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 2, None),
    ],
)
def test_launchers_whose_processes_would_not_train_together_are_refused(
    environ, given, asked, message
):
    environ |= given

    def check():
        join_launcher()
        check_launcher(asked)

    if message is None:
        check()
        return
    with pytest.raises(UserError, match=message) as caught:
        check()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("SLURM_STEP_NUM_TASKS", "2"), ("ACCELERATE_USE_FSDP", "true")]
)
def test_the_command_refuses_them_first(llmkit, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    result = llmkit("finetune", "no-such-recipe")
    assert result.exit_code == 2
    assert "no-such-recipe" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_tasks_of_srun_are_understood_as_torchrun_is(environ):
    environ |= BATCH_SCRIPT | STEP
    join_launcher()
    expected = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "gpu07", "MASTER_PORT": "15008"}  # fmt: skip
    assert environ.items() >= expected.items()
    before = dict(environ)
    join_launcher()
    assert environ == before


@pytest.mark.parametrize("theirs", [OPEN_MPI, HYDRA, TORCHRUN])
def test_launchers_inside_of_a_slurm_step_come_first(environ, theirs):
    environ |= BATCH_SCRIPT | STEP | theirs
    join_launcher()
    assert {name: environ[name] for name in TORCHRUN} == TORCHRUN


@pytest.mark.parametrize(
    ("tasks", "machine", "expected"),
    [("3", 0, 3), ("2(x3),1", 2, 2), ("2(x3),1", 3, 1), ("4,2(x2)", 1, 2)],
)
def test_tasks_of_a_machine_are_read_from_slurms_list(environ, tasks, machine, expected):
    environ |= {"SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_NODEID": str(machine)}
    assert ranks.tasks_on_this_machine() == expected


@pytest.mark.parametrize(
    ("machines", "first"),
    [
        ("one", "one"),
        ("a1,b[2-3]", "a1"),
        ("gpu[007-012,3]", "gpu007"),
        ("n[4,6].site.org", "n4.site.org"),
        ("rack-2-node[11]", "rack-2-node11"),
    ],
)
def test_the_first_machine_is_read_from_slurms_list(machines, first):
    assert ranks.first_machine(machines) == first


@pytest.mark.parametrize(
    ("max_restarts", "restarts", "options", "expected"),
    [
        (None, None, (None, None), None),
        ("0", "0", (None, None), None),
        ("2", "0", (None, "run"), None),
        ("2", "1", (None, "run"), "auto"),
        ("2", "1", ("old", None), "old"),
        ("2", "0", ("auto", None), "auto"),
        ("2", "0", (None, None), UserError),
        ("2", "1", (None, None), UserError),
    ],
)
def test_processes_that_torchrun_starts_again_resume_their_run(
    environ, max_restarts, restarts, options, expected
):
    given = {"TORCHELASTIC_MAX_RESTARTS": max_restarts, "TORCHELASTIC_RESTART_COUNT": restarts}
    environ |= {name: value for name, value in given.items() if value is not None}
    if expected is UserError:
        with pytest.raises(UserError, match=r"torchrun --max-restarts: .* --run-dir DIR"):
            resume_option(*options)
    else:
        assert resume_option(*options) == expected


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [(None, "no", None), ("no", "bf16", None), ("bf16", "bf16", None), ("bf16", "no", "bf16")],
)
def test_a_precision_of_accelerate_that_is_not_used_is_known(environ, theirs, ours, said):
    if theirs is not None:
        environ["ACCELERATE_MIXED_PRECISION"] = theirs
    assert overridden_precision(ours) == said


def test_a_name_is_a_folder_where_it_can_be_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    paths = ("mine/model", "runs/summarize-1", "runs", "./gpt2", "/gpt2", "~/gpt2", "a/b/c")
    assert all(map(is_path, paths))
    assert not any(map(is_path, ("gpt2", "openai-community/gpt2")))


@pytest.mark.slow
def test_mpirun_resumes_a_run(tiny_gpt2, tmp_path, subprocess_env, monkeypatch):
    settings = six_steps(tiny_gpt2, tmp_path)
    run_to_the_end(settings, tmp_path / "whole")
    run_until(settings, tmp_path / "run", monkeypatch, 3)
    port = str(free_port())
    environments = [
        {**subprocess_env, **OPEN_MPI, "OMP_NUM_THREADS": "1", "MASTER_PORT": port,
         "OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_LOCAL_RANK": rank}
        for rank in ("0", "1")
    ]  # fmt: skip
    arguments = ("finetune", tmp_path / "run" / "recipe.yaml", "--resume", tmp_path / "run")
    (first, output, errors), (second, silence, more_errors) = start_ranks(
        arguments, environments, [tmp_path] * 2
    )
    assert (first, second) == (0, 0), errors + more_errors
    assert "resume  after step 3" in output
    assert silence == ""
    assert traces(tmp_path / "run")["checkpoint"] == traces(tmp_path / "whole")["checkpoint"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs Open MPI's mpirun")
def test_mpirun_itself_stops_a_run_which_resumes(tiny_gpt2, tmp_path, subprocess_env):
    settings = six_steps(tiny_gpt2, tmp_path, "train.max_steps=100000", "evaluation.every=100000")
    (tmp_path / "recipe.yaml").write_text(to_yaml(settings.model_dump(mode="json")), "utf-8")
    environment = {
        **subprocess_env, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip

    def start(*options):
        return subprocess.Popen(
            ["mpirun", "--oversubscribe", "-n", "2", sys.executable, "-m", "llmkit", "finetune",
             "recipe.yaml", *options],
            cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    process, log = start("--run-dir", "run"), tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_text().count("\n") > 3):
        time.sleep(0.1)
    psutil.Process(process.pid).children()[1].terminate()
    output, _ = process.communicate()
    assert process.returncode == 143, output
    assert output.count("llmkit: stopped by SIGTERM; resume under the same launcher with") == 1
    found, reasons = newest(tmp_path / "run")
    assert found is not None
    assert not reasons
    step = int(found.name.removeprefix("step-"))
    longer = (f"train.max_steps={step + 2}", "--allow-change", "train.max_steps")
    process = start("--resume", "run", *longer)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert f"resume  after step {step}: " in output
    assert newest(tmp_path / "run")[0].name == f"step-{step + 2:08}"
