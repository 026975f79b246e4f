"""Resuming: a run that was stopped ends as one that was not."""

import json
import os
import shutil
import signal
import time
from itertools import product

import pytest
import torch
from rich.console import Console
from rows import summary_rows, write_jsonl
from runs import forget_accelerator
from stopped_runs import (
    files_of,
    interrupted,
    run_to_the_end,
    run_until,
    six_steps,
    stop_after,
    traces,
)

from llmkit.config.recipe import load_recipe
from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError
from llmkit.runs.start import run_lock
from llmkit.training.checkpoint import newest
from llmkit.workflows.finetune import finetune


@pytest.fixture(scope="module")
def sampled(tiny_gpt2, tmp_path_factory):
    """A recipe with samples, and the traces of its run."""
    folder = tmp_path_factory.mktemp("sampled")
    settings = six_steps(
        tiny_gpt2, folder, "train.dropout=0.1", "data.packing=true", "evaluation.samples=2"
    )
    run_to_the_end(settings, folder / "whole")
    return settings, traces(folder / "whole")


@pytest.mark.parametrize("step", [2, 5, pytest.param(6, marks=pytest.mark.slow)])
def test_resumed_run_is_bit_identical_at_any_step(sampled, tmp_path, monkeypatch, step):
    settings, expected = sampled
    assert expected["samples"].count("\n") == 3 * 2
    interrupted(settings, tmp_path / "stopped", monkeypatch, step)
    assert traces(tmp_path / "stopped") == expected


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_resume_is_bit_identical_with_weights_in_half_precision(
    recipe, tmp_path, monkeypatch, method
):
    settings = recipe(
        "train.mixed_precision=bf16", "train.dropout=0.1", f"train.method={method}",
        "train.lora.lora_dropout=0.1", "train.max_steps=4", "evaluation.every=4",
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "stopped", monkeypatch, 2)
    assert traces(tmp_path / "stopped") == traces(tmp_path / "whole")


SETTINGS = list(
    product(
        ("train.method=full", "train.method=lora", "train.freeze_layers=1"),
        [f"train.optimizer={name}" for name in ("adamw", "sgd", "rmsprop", "adafactor")],
        ("train.forward=padding_free", "train.forward=transformers"),
    )
)


IN_THE_SUITE = (15, 18)  # LoRA with Adafactor, frozen blocks with SGD; the matrix has AdamW


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(n, marks=[] if n in IN_THE_SUITE else pytest.mark.slow)
        for n in range(len(SETTINGS))
    ],
)
def test_resume_is_bit_identical_for_every_method_optimizer_and_forward_pass(
    recipe, tmp_path, monkeypatch, number
):
    schedules = ("cosine", "linear", "warmup_stable_decay", "constant")
    settings = recipe(
        *SETTINGS[number], f"train.schedule={schedules[number % 4]}", "train.warmup_steps=2",
        f"train.dropout={number % 2 / 10}", f"checkpoint.every={1 + number % 3}",
        f"train.activation_checkpointing={'true' if number % 2 else 'false'}",
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "stopped", monkeypatch, 1 + number % 5)
    assert traces(tmp_path / "stopped") == traces(tmp_path / "whole")


@pytest.fixture(scope="module")
def whole(stopped_at_4):
    """The traces of the same run without a stop."""
    run, settings = stopped_at_4
    run_to_the_end(settings, run.with_name("whole"))
    return traces(run.with_name("whole"))


def test_resume_skips_a_corrupt_checkpoint_and_says_so(stopped, whole, tmp_path, capsys):
    run, settings = stopped
    (run / "checkpoints" / "step-00000004" / "optimizer.safetensors").write_bytes(b"gone")
    output = (tmp_path / "output").open("w+")
    forget_accelerator()
    finetune(settings, run, Console(file=output, width=300), resume=True)
    output.seek(0)
    said = output.read()
    assert "resume  after step 3" in said
    warning = "".join(capsys.readouterr().err.splitlines())
    assert "skipped" in warning
    assert "optimizer.safetensors has 4 bytes, expected " in warning
    assert traces(run)["log"] == whole["log"]


def test_corrupt_checkpoints_of_later_steps_change_nothing(recipe, tmp_path, monkeypatch):
    settings = recipe("checkpoint.every=2", "checkpoint.keep=3", "train.dropout=0.1")
    run_until(settings, tmp_path / "run", monkeypatch, 5)
    for step in (4, 5):
        (tmp_path / "run" / "checkpoints" / f"step-0000000{step}" / "state.json").unlink()
    run_to_the_end(settings, tmp_path / "run", resume=True)
    run_to_the_end(settings, tmp_path / "whole")
    assert traces(tmp_path / "run") == traces(tmp_path / "whole")


def test_two_processes_do_not_train_in_one_folder(stopped, tmp_path):
    run, settings = stopped
    with (
        run_lock(run),
        pytest.raises(UserError, match="another process is training in this folder"),
    ):
        run_to_the_end(settings, run, resume=True)
    with run_lock(tmp_path / "new"), pytest.raises(UserError, match="another process is training"):
        run_to_the_end(settings, tmp_path / "new")
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with run_lock(run):
                os.write(told, b"held")
                time.sleep(60)
        finally:
            os._exit(1)
    assert os.read(ready, 4) == b"held"
    with pytest.raises(UserError, match="another process is training in this folder"):
        run_to_the_end(settings, run, resume=True)
    os.kill(child, signal.SIGKILL)  # the system takes the lock from it
    os.waitpid(child, 0)
    run_to_the_end(settings, run, resume=True)


def test_run_of_another_process_is_not_overwritten(stopped):
    run, settings = stopped
    before = files_of(run)
    with pytest.raises(
        UserError, match="another process trained here in the meantime; resume its run with"
    ):
        run_to_the_end(settings, run)
    assert files_of(run) == before


def test_scale_of_fp16_gradients_is_restored(recipe, tmp_path, monkeypatch):
    """A scaler on the CPU, on gradients of float32: it multiplies, divides, and grows."""
    from llmkit.workflows import finetune as finetune_file

    start_accelerator = finetune_file.start_accelerator

    def with_scaler(*arguments, **options):
        accelerator = start_accelerator(*arguments, **options)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
        return accelerator

    monkeypatch.setattr(finetune_file, "start_accelerator", with_scaler)
    settings = recipe("train.dropout=0.1")
    run_to_the_end(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "run", monkeypatch, 3)
    assert traces(tmp_path / "run") == traces(tmp_path / "whole")
    assert traces(tmp_path / "run")["progress"]["scaler"]["scale"] == 4.0 * 2**3


def test_resume_auto_resumes_or_starts_a_run(llmkit, recipe, tmp_path, monkeypatch):
    settings = recipe("train.max_steps=3")
    (tmp_path / "recipe.yaml").write_text(to_yaml(settings.model_dump(mode="json")), "utf-8")
    arguments = ("finetune", "recipe.yaml", "--run-dir", "run", "--resume", "auto")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        result = llmkit(*arguments)
    assert result.exit_code == 143
    assert "resume  no stopped run of this recipe; starting a new one" in result.output
    forget_accelerator()
    result = llmkit(*arguments)
    assert result.exit_code == 0, result.output
    assert "resume  after step 2" in result.output
    result = llmkit(*arguments)
    assert result.exit_code == 2
    assert "has finished" in result.stderr


def test_lost_best_weights_are_restored_from_their_checkpoint(stopped, whole):
    run, settings = stopped
    shutil.rmtree(run / "model")
    run_to_the_end(settings, run, resume=True)
    assert traces(run) == whole


def test_a_mix_is_resumed_exactly_and_its_sets_are_compared_by_name(
    tiny_gpt2, tmp_path, monkeypatch
):
    files = [
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": row["document"]} for row in rows])
        for name, rows in (("web", summary_rows(60)), ("books", summary_rows(70)[60:]))
    ]
    settings = load_recipe(
        "pretrain",
        overrides=(
            f"model={tiny_gpt2}", f"data.train={files[0]}", f"data.mix.books.train={files[1]}",
            "data.mix.books.share=0.5", "data.max_length=32", "train.max_steps=10",
            "train.global_batch_size=8", "train.log_every=1", "train.mixed_precision=no",
        ),
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    data = json.loads((tmp_path / "whole" / "run.json").read_text())["data"]
    assert data["mix.books"]["source"] == str(files[1])
    assert data["mix.books"]["rows"] == 10
    run = tmp_path / "stopped"
    run_until(settings, run, monkeypatch, 7)
    content = files[1].read_text("utf-8")
    files[1].write_text(content.replace("ferry", "barge"), "utf-8")
    with pytest.raises(UserError, match=r"^data.mix.books: the rows, or their tokens, are not"):
        run_to_the_end(settings, run, resume=True)
    files[1].write_text(content, "utf-8")
    run_to_the_end(settings, run, resume=True)
    assert traces(run) == traces(tmp_path / "whole")


def test_run_without_disk_space_is_refused_before_training(recipe, tmp_path, monkeypatch):
    from llmkit.training import resume

    require_room = resume.require_room
    monkeypatch.setattr(resume, "require_room", lambda folder, _: require_room(folder, 2**62))
    with pytest.raises(UserError, match=r"cannot save there \(No space left"):
        run_to_the_end(recipe(), tmp_path / "run")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_stopped_command_ends_in_one_line_and_can_be_resumed(
    fork_server, tiny_gpt2, tmp_path, number
):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(30))
    arguments = [
        "finetune", "summarize", f"model={tiny_gpt2}",
        f"data.train={path}", "data.max_length=128", "train.epochs=null", "train.max_steps=2000",
        "train.log_every=1", "evaluation.every=1000", "evaluation.validation_rows=2",
        "evaluation.test_rows=2", "generation.max_new_tokens=2",
    ]  # fmt: skip
    process = fork_server.start([*arguments, "--run-dir", "run"], cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("step 20/"):
            process.send_signal(number)
            break
    _, said = process.communicate()
    assert process.returncode == 128 + number
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert said.splitlines() == [
        f"llmkit: stopped by {name}; resume with: llmkit finetune run/recipe.yaml --resume run"
    ]
    found, reasons = newest(tmp_path / "run")
    assert found is not None
    assert not reasons
    resumed = fork_server.start(
        ["finetune", "run/recipe.yaml", "--resume", "run", "train.max_steps=25",
         "--allow-change", "train.max_steps"],
        cwd=tmp_path,
    )  # fmt: skip
    output, errors = resumed.communicate()
    assert "CorruptFolder" not in errors
    assert "resume  after step 2" in output
