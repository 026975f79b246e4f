"""The training loop: when it validates, saves and stops."""

import json
import os
import signal
import time
from functools import partial

import pytest
from rich.console import Console
from runs import four_steps, read_metrics, strict_lines
from scalers import cpu_scaler, overflow
from stopped_runs import interrupted, run_to_the_end, six_steps, stop_after, traces

from llmkit.evaluation.evaluator import Evaluator
from llmkit.runtime.devices import start_accelerator
from llmkit.runtime.signals import Signals, Stopped
from llmkit.training.log import RunLog
from llmkit.training.saver import RunSaver
from llmkit.training.trainer import Trainer
from llmkit.workflows.finetune import finetune


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(four_steps, tiny_gpt2, tmp_path)


@pytest.fixture
def six(tiny_gpt2, tmp_path):
    return partial(six_steps, tiny_gpt2, tmp_path)


def test_validation_does_not_change_training(recipe, tmp_path):
    """The dropout masks do not depend on what was drawn in between."""
    losses = {}
    for every in (1, 4):
        settings = recipe(f"evaluation.every={every}", "train.dropout=0.3", "train.max_steps=4")
        finetune(settings, tmp_path / str(every), Console(quiet=True))
        losses[every] = [line["loss"] for line in read_metrics(tmp_path / str(every))[0]]
    assert losses[1] == losses[4]


def test_early_stopping_ends_the_run(recipe, tmp_path):
    settings = recipe(
        "train.max_steps=20",
        "train.learning_rate=1e-12",
        "evaluation.every=1",
        "evaluation.early_stopping_patience=2",
        "evaluation.metric=rougeL",
    )
    finetune(settings, tmp_path / "run", Console(quiet=True))
    steps, validations = read_metrics(tmp_path / "run")
    assert len(steps) == len(validations) == 3
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best_step"] == 1


def test_run_in_which_every_step_overflowed_fails_and_can_be_resumed(
    tiny_gpt2, tmp_path, monkeypatch
):
    from llmkit.workflows import finetune

    def start_with_scaler(*arguments, **options):
        accelerator = start_accelerator(*arguments, **options)
        accelerator.scaler = cpu_scaler()
        return accelerator

    build = Trainer.build

    def build_overflowing(model, *arguments):
        overflow(model)
        return build(model, *arguments)

    monkeypatch.setattr(finetune, "start_accelerator", start_with_scaler)
    monkeypatch.setattr(Trainer, "build", build_overflowing)
    with pytest.raises(FloatingPointError, match="none of 6 steps changed a weight"):
        run_to_the_end(six_steps(tiny_gpt2, tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    last = max((tmp_path / "run" / "checkpoints").iterdir()).name
    assert last < "step-00000006", "so that it can be resumed with other settings"
    lines = strict_lines(tmp_path / "run" / "metrics.jsonl")
    assert sum("skipped" in line for line in lines) == 6


def test_stop_request_during_validation_takes_effect_at_once(six, tmp_path, monkeypatch):
    settings = six()
    run_to_the_end(settings, tmp_path / "whole")
    with monkeypatch.context() as patch:

        def send(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

        patch.setattr(Evaluator, "evaluate", send)
        with pytest.raises(Stopped) as caught:
            run_to_the_end(settings, tmp_path / "stopped")
    assert caught.value.exit_code == 130
    run_to_the_end(settings, tmp_path / "stopped", resume=True)
    assert traces(tmp_path / "stopped") == traces(tmp_path / "whole")


def test_sigusr1_writes_a_checkpoint(six, tmp_path, monkeypatch):
    stop_after(monkeypatch, 1, signal.SIGUSR1)
    run_to_the_end(six("evaluation.every=100", "checkpoint.keep=3"), tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000006"]


def test_early_stopping_counts_validations_before_a_resume(six, tmp_path, monkeypatch):
    settings = six(
        "train.max_steps=12", "train.learning_rate=1e-12", "evaluation.every=1",
        "evaluation.early_stopping_patience=3", "evaluation.metric=rougeL",
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "run", monkeypatch, 3)
    assert traces(tmp_path / "run") == traces(tmp_path / "whole")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best_step"] == 1


@pytest.fixture
def events(monkeypatch):
    """A run's events in order: each step, validation, checkpoint and write of the best model."""
    seen = []

    def recorded(function):
        def record(*arguments):
            seen.append(function.__name__)
            return function(*arguments)

        return record

    for method in (
        Trainer.train_step, RunLog.validation, RunSaver.save_checkpoint, RunSaver.save_best_model,
    ):  # fmt: skip
        owner = {"train_step": Trainer, "validation": RunLog}.get(method.__name__, RunSaver)
        monkeypatch.setattr(owner, method.__name__, recorded(method))
    return seen


def test_each_turn_steps_saves_what_is_due_validates_and_saves_the_best(events, six, tmp_path):
    settings = six(
        "train.max_steps=4", "checkpoint.every=2", "evaluation.every=2", "evaluation.metric=loss",
        "train.learning_rate=1e-2",
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "run")
    turn = [
        "train_step", "train_step", "save_checkpoint", "validation", "save_best_model",
        "save_checkpoint",
    ]  # fmt: skip
    assert events == turn * 2, "the loss falls, so every validation is the best so far"


def test_stop_request_before_the_first_step_takes_effect_after_it(events, six, tmp_path):
    signals = Signals()
    signals.stop = signal.SIGTERM
    with pytest.raises(Stopped):
        finetune(six(), tmp_path / "run", Console(quiet=True), signals)
    assert events == ["train_step", "save_checkpoint"], "before, there is nothing to save"
