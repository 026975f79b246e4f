"""A run that was stopped goes on as if it never had been."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import product

import pytest
from conftest import forget_accelerator, summary_rows, write_jsonl
from rich.console import Console
from safetensors.torch import load_file, save_file
from traces import traces

from llmkit import train as train_file
from llmkit.checkpoint import newest
from llmkit.errors import UserError
from llmkit.finetune import finetune
from llmkit.folders import Damaged, publish, recover, verify
from llmkit.recipe import load_recipe, recipe_yaml
from llmkit.signals import Signals, Stopped


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    """Six steps over two epochs and a bit, in micro-batches of two sizes."""
    rows = summary_rows(20)
    for number, row in enumerate(rows):
        row["summary"] *= 1 + number % 3
    path = write_jsonl(tmp_path / "rows.jsonl", rows)

    def make(*overrides: str):
        return load_recipe(
            "summarize",
            overrides=(
                f"model={tiny_gpt2}",
                *(f"data.{split}={path}" for split in ("train", "validation", "test")),
                "max_length=128", "train.epochs=null", "train.max_steps=6",
                "train.global_batch_size=8", "train.micro_batch_size=3", "train.log_every=1",
                "train.learning_rate=1e-3", "train.mixed_precision=no", "evaluation.every=2",
                "evaluation.validation_rows=4", "evaluation.test_rows=4",
                "generation.max_new_tokens=4", *overrides,
            ),
        )  # fmt: skip

    return make


def run_to_the_end(recipe, run, **options):
    forget_accelerator()
    with Signals() as signals:
        finetune(recipe, run, Console(quiet=True), signals, **options)


def stop_behind(monkeypatch, step: int, number=signal.SIGTERM) -> None:
    """Send this process a signal while it takes that step."""
    take_step = train_file.take_step

    def take_and_send(learner, progress, log):
        take_step(learner, progress, log)
        if progress.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(train_file, "take_step", take_and_send)


def run_until(recipe, run, monkeypatch, step: int) -> None:
    """The run, stopped behind that step."""
    with monkeypatch.context() as patch:
        stop_behind(patch, step)
        with pytest.raises(Stopped) as caught:
            run_to_the_end(recipe, run)
    assert caught.value.exit_code == 143


def interrupted(recipe, run, monkeypatch, step: int) -> None:
    """The run, stopped behind that step and resumed."""
    run_until(recipe, run, monkeypatch, step)
    run_to_the_end(recipe, run, resumes=True)


@pytest.mark.parametrize("step", [2, 5, pytest.param(6, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_bit_by_bit(recipe, tmp_path, monkeypatch, step):
    settings = recipe("train.dropout=0.1", "packing=true")
    run_to_the_end(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "stopped", monkeypatch, step)
    assert traces(tmp_path / "stopped") == traces(tmp_path / "whole")


SETTINGS = list(
    product(
        ("train.method=full", "train.method=lora", "train.freeze_layers=1"),
        ("train.optimizer=adamw", "train.optimizer=sgd"),
        ("train.engine=fast", "train.engine=reference"),
    )
)


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=[pytest.mark.slow] if n % 6 else []) for n in range(12)]
)
def test_so_does_one_of_every_kind(recipe, tmp_path, monkeypatch, number):
    schedules = ("cosine", "linear", "warmup_stable_decay", "constant")
    settings = recipe(
        *SETTINGS[number], f"train.schedule={schedules[number % 4]}", "train.warmup_steps=2",
        f"train.dropout={number % 2 / 10}", f"checkpoint.every={1 + number % 3}",
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "stopped", monkeypatch, 1 + number % 5)
    assert traces(tmp_path / "stopped") == traces(tmp_path / "whole")


def test_a_request_during_validation_is_heard_there(recipe, tmp_path, monkeypatch):
    settings = recipe()
    run_to_the_end(settings, tmp_path / "whole")
    with monkeypatch.context() as patch:
        from llmkit import finetune as finetune_file

        def send(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

        patch.setattr(finetune_file, "evaluate", send)
        with pytest.raises(Stopped) as caught:
            run_to_the_end(settings, tmp_path / "stopped")
    assert caught.value.exit_code == 130
    run_to_the_end(settings, tmp_path / "stopped", resumes=True)
    assert traces(tmp_path / "stopped") == traces(tmp_path / "whole")


def test_a_checkpoint_is_written_when_someone_asks(recipe, tmp_path, monkeypatch):
    stop_behind(monkeypatch, 1, signal.SIGUSR1)
    run_to_the_end(recipe("evaluation.every=100", "checkpoint.keep=3"), tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000006"]


@pytest.fixture
def stopped(recipe, tmp_path, monkeypatch):
    """A run with checkpoints of its steps 2, 3 and 4, the last one when it was stopped."""
    settings = recipe("checkpoint.keep=3", "checkpoint.every=1", "train.dropout=0.1")
    run_until(settings, tmp_path / "run", monkeypatch, 4)
    return tmp_path / "run", settings


def damages(checkpoint, generator):
    """Ways to harm a checkpoint: a function each."""
    files = sorted(path for path in checkpoint.iterdir())
    path = generator.choice(files)

    def flip():
        content = bytearray(path.read_bytes())
        place = generator.randrange(len(content))
        content[place] ^= 1 << generator.randrange(8)
        path.write_bytes(bytes(content))

    def cut():
        path.write_bytes(path.read_bytes()[: generator.randrange(path.stat().st_size)])

    def swap():
        one, other = generator.sample(files, 2)
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)

    def add():
        (checkpoint / f"more{generator.randrange(9)}.safetensors").write_bytes(b"x")

    return flip, cut, swap, path.unlink, add


def test_a_damaged_checkpoint_is_passed_over(stopped, tmp_path, trials, figure):
    run, _ = stopped
    folder = run / "checkpoints"
    whole = sorted(folder.iterdir())
    assert [path.name for path in whole] == ["step-00000002", "step-00000003", "step-00000004"]
    tried, reached = trials(50, 1000), 0
    for seed in tried:
        generator = random.Random(seed)
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy / "checkpoints")
        last = sorted((copy / "checkpoints").iterdir())[-1]
        before = {path.name: path.read_bytes() for path in last.iterdir()}
        generator.choice(damages(last, generator))()
        if before == {path.name: path.read_bytes() for path in last.iterdir()}:
            reached += 1  # nothing was changed: there is nothing to find
            continue
        found, reasons = newest(copy)
        reached += found == copy / "checkpoints" / "step-00000003" and len(reasons) == 1
    figure("a damaged checkpoint is found, and the newest good one used", reached, len(tried))


def test_it_goes_on_from_the_newest_whole_one_and_says_so(stopped, tmp_path, recipe):
    run, settings = stopped
    (run / "checkpoints" / "step-00000004" / "optimizer.safetensors").write_bytes(b"gone")
    output = (tmp_path / "output").open("w+")
    forget_accelerator()
    finetune(settings, run, Console(file=output, width=300), resumes=True)
    output.seek(0)
    said = output.read()
    assert "passed over" in said
    assert "optimizer.safetensors has 4 bytes, not as many as were written" in said
    assert "resume  behind step 3" in said
    run_to_the_end(settings, tmp_path / "whole")
    assert traces(run)["log"] == traces(tmp_path / "whole")["log"]


def test_damaged_checkpoints_of_later_steps_are_left_behind(recipe, tmp_path, monkeypatch):
    settings = recipe("checkpoint.every=2", "checkpoint.keep=3", "train.dropout=0.1")
    run_until(settings, tmp_path / "run", monkeypatch, 5)
    for step in (4, 5):
        (tmp_path / "run" / "checkpoints" / f"step-0000000{step}" / "state.json").unlink()
    run_to_the_end(settings, tmp_path / "run", resumes=True)
    run_to_the_end(settings, tmp_path / "whole")
    assert traces(tmp_path / "run") == traces(tmp_path / "whole")


def test_a_run_can_be_made_longer_but_not_shorter_than_it_is(recipe, tmp_path, monkeypatch):
    run_until(recipe("train.schedule=constant"), tmp_path / "run", monkeypatch, 5)
    allowed = ("train.max_steps",)
    other = recipe("train.schedule=constant", "train.max_steps=4")
    with pytest.raises(UserError, match="it is behind step 5, and the run now has 4 only"):
        run_to_the_end(other, tmp_path / "run", resumes=True, allowed=allowed)
    other = recipe("train.schedule=constant", "train.max_steps=8")
    run_to_the_end(other, tmp_path / "run", resumes=True, allowed=allowed)
    run_to_the_end(other, tmp_path / "whole")
    assert traces(tmp_path / "run") == traces(tmp_path / "whole")


def test_early_stopping_counts_on(recipe, tmp_path, monkeypatch):
    settings = recipe(
        "train.max_steps=12", "train.learning_rate=1e-12", "evaluation.every=1",
        "evaluation.early_stopping_patience=3", "evaluation.metric=rougeL",
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "run", monkeypatch, 3)
    assert traces(tmp_path / "run") == traces(tmp_path / "whole")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best_step"] == 1


def test_auto_goes_on_or_begins(llmkit, recipe, tmp_path, monkeypatch):
    settings = recipe("train.max_steps=3")
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(settings), "utf-8")
    arguments = ("finetune", "recipe.yaml", "--run-dir", "run", "--resume", "auto")
    with monkeypatch.context() as patch:
        stop_behind(patch, 2)
        result = llmkit(*arguments)
    assert result.exit_code == 143
    assert "resume  no stopped run of this recipe: a new one, run" in result.output
    forget_accelerator()
    result = llmkit(*arguments)
    assert result.exit_code == 0, result.output
    assert "resume  behind step 2" in result.output
    result = llmkit(*arguments)
    assert result.exit_code == 2
    assert "has finished" in result.stderr


def test_lost_best_weights_are_made_again(stopped, tmp_path, recipe):
    run, settings = stopped
    shutil.rmtree(run / "model")
    run_to_the_end(settings, run, resumes=True)
    run_to_the_end(settings, tmp_path / "whole")
    assert traces(run) == traces(tmp_path / "whole")


def test_what_has_changed_is_refused_by_name(stopped, tmp_path, recipe, tiny_gpt2):
    run, settings = stopped
    other = settings.model_copy(update={"seed": 7, "max_length": 100})
    with pytest.raises(UserError) as caught:
        run_to_the_end(other, run, resumes=True)
    first, second = str(caught.value).splitlines()
    assert first.startswith("seed: 0 in the run, 7 now")
    assert second.startswith("max_length: 128 in the run, 100 now")
    assert "--allow-change max_length" in second

    rows = tmp_path / "rows.jsonl"
    content = rows.read_text("utf-8")
    rows.write_text(content.replace("ferry", "barge"), "utf-8")
    with pytest.raises(UserError, match=r"data.train: the rows, or their tokens, are not those of"):
        run_to_the_end(settings, run, resumes=True)
    allowed = ("data.train", "data.validation", "data.test")
    run_to_the_end(settings, run, resumes=True, allowed=allowed)
    with pytest.raises(UserError, match="this run has finished"):
        run_to_the_end(settings, run, resumes=True)


def test_another_base_model_is_refused(tiny_gpt2, tmp_path, recipe, monkeypatch):
    copy = tmp_path / "gpt2"
    shutil.copytree(tiny_gpt2, copy)
    settings = recipe(f"model={copy}")
    run_until(settings, tmp_path / "run", monkeypatch, 3)
    weights = load_file(copy / "model.safetensors")
    weights["transformer.h.0.ln_1.bias"] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="model: the base model's weights are not those of the run"):
        run_to_the_end(settings, tmp_path / "run", resumes=True)


class Cut(BaseException):
    """As if the process were gone."""


def test_a_folder_is_whole_wherever_its_writing_is_cut_short(tmp_path, monkeypatch):
    """Stopped at each call to the file system in turn."""
    calls = {"at": 0, "stop": None}

    def counted(function):
        def call(*arguments, **options):
            calls["at"] += 1
            if calls["at"] == calls["stop"]:
                raise Cut
            return function(*arguments, **options)

        return call

    for name in ("open", "fsync", "rename", "mkdir", "unlink", "rmdir", "close"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))

    def write(content):
        def fill(folder):
            (folder / "one").write_text(content)
            (folder / "two").write_text(content)

        return fill

    target = tmp_path / "folder"
    publish(target, write("old"))
    calls.update(at=0)
    publish(target, write("new"))
    num_calls = calls["at"]
    assert num_calls > 10
    for stop in range(1, num_calls + 1):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        calls.update(stop=None)
        publish(target, write("old"))
        calls.update(at=0, stop=stop)
        with pytest.raises(Cut):
            publish(target, write("new"))
        calls.update(stop=None)
        recover(target)
        verify(target)
        contents = {(target / name).read_text() for name in ("one", "two")}
        assert contents in ({"old"}, {"new"})
        publish(target, write("next"))
        verify(target)
        assert {path.name for path in tmp_path.iterdir()} == {"folder"}


def test_a_run_without_room_is_refused_before_it_starts(recipe, tmp_path, monkeypatch):
    from llmkit import resume

    require_room = resume.require_room
    monkeypatch.setattr(resume, "require_room", lambda folder, _: require_room(folder, 2**62))
    with pytest.raises(UserError, match=r"nothing could be saved there \(No space left"):
        run_to_the_end(recipe(), tmp_path / "run")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_command_stops_in_one_line_and_goes_on(subprocess_env, tiny_gpt2, tmp_path, number):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(30))
    arguments = [
        sys.executable, "-m", "llmkit", "finetune", "summarize", f"model={tiny_gpt2}",
        f"data.train={path}", "max_length=128", "train.epochs=null", "train.max_steps=2000",
        "train.log_every=1", "evaluation.every=1000", "evaluation.validation_rows=2",
        "evaluation.test_rows=2", "generation.max_new_tokens=2",
    ]  # fmt: skip
    options = {"env": subprocess_env, "cwd": tmp_path, "text": True, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*arguments, "--run-dir", "run"], stdout=subprocess.PIPE, **options)
    for line in process.stdout:
        if line.startswith("step 20/"):
            process.send_signal(number)
            break
    process.stdout.read()
    said = process.stderr.read()
    assert process.wait() == 128 + number
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert said.splitlines() == [
        f"llmkit: stopped by {name}; go on with: llmkit finetune run/recipe.yaml --resume run"
    ]
    found, reasons = newest(tmp_path / "run")
    assert found is not None
    assert not reasons
    resumed = subprocess.run(
        [*arguments[:4], "run/recipe.yaml", "--resume", "run", "train.max_steps=25",
         "--allow-change", "train.max_steps"],
        stdout=subprocess.PIPE, **options,
    )  # fmt: skip
    assert "Damaged" not in resumed.stderr
    assert "resume  behind step 2" in resumed.stdout


def test_nothing_is_damaged_by_being_read(stopped):
    run, _ = stopped
    for path in (run / "checkpoints").iterdir():
        verify(path)
    with pytest.raises(Damaged, match="is missing"):
        verify(run)
