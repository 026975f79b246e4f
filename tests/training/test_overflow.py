"""Overflows of the fp16 gradient, met with a scaler on the CPU and gradients of float32."""

import json
import math
import random

import pytest
import torch
from gradient_cases import random_rows, schedule_of
from rich.console import Console
from runs import forget_accelerator
from stopped_runs import run_to_the_end, six_steps

from llmkit.config.recipe import load_recipe
from llmkit.io.safe_json import to_json
from llmkit.model.load import load_model
from llmkit.runtime.devices import start_accelerator
from llmkit.training.log import RunLog
from llmkit.training.step import MAX_OVERFLOWS, StepOutcome
from llmkit.training.trainer import Trainer


def cpu_scaler():
    return torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=1000)


def strict_lines(path):
    """The rows of a .jsonl file, as a parser reads them that knows no NaN and no Infinity."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


@pytest.fixture
def trainer_of(tiny_gpt2):
    """A trainer by the name of its optimizer, whose gradient can be made infinite."""

    def make(optimizer):
        forget_accelerator()
        recipe = load_recipe(
            "summarize",
            overrides=(
                f"model={tiny_gpt2}", "train.epochs=null", "train.max_steps=40",
                "train.global_batch_size=4", f"train.optimizer={optimizer}",
                "train.mixed_precision=no", "train.log_every=1",
            ),
        )  # fmt: skip
        accelerator = start_accelerator("auto", "no", 0)
        accelerator.scaler = cpu_scaler()
        schedule = schedule_of(random_rows(random.Random(0), 12), recipe, accelerator)
        return Trainer.build(load_model(str(tiny_gpt2))[0], schedule, recipe.train, accelerator)

    return make


@pytest.fixture
def log(tmp_path):
    def ignore(*_):
        pass

    return RunLog(tmp_path / "metrics.jsonl", 40, 1, Console(quiet=True), ignore)


def overflow(model):
    """Make one element of the gradient infinite from here on; returns the hook."""
    weight = next(model.parameters())

    def spoil(gradient):
        gradient = gradient.clone()
        gradient.view(-1)[0] = math.inf
        return gradient

    return weight.register_hook(spoil)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop", "adafactor"])
def test_a_step_whose_gradient_overflowed_is_left_out(trainer_of, log, tmp_path, optimizer):
    trainer = trainer_of(optimizer)
    progress, scaler = trainer.progress, trainer.accelerator.scaler
    trainer.train_step(log)
    before = [weight.clone() for weight in trainer.model.parameters()]
    hook = overflow(trainer.model)
    assert trainer.train_step(log) is StepOutcome.OVERFLOWED
    for weight, old in zip(trainer.model.parameters(), before, strict=True):
        assert torch.equal(weight, old)
    assert scaler.get_scale() == 2.0**29
    assert (progress.num_overflows, progress.num_updates) == (1, 1)
    hook.remove()
    assert trainer.train_step(log) is StepOutcome.UPDATED
    assert (progress.num_overflows, progress.num_updates) == (0, 2)
    assert not torch.equal(next(trainer.model.parameters()), before[0])
    first, second, third = strict_lines(tmp_path / "metrics.jsonl")
    assert second == {"step": 2, "left_out": "step 2: the fp16 gradient overflowed"}
    assert math.isfinite(first["grad_norm"])
    assert math.isfinite(third["grad_norm"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_overflows_without_end_stop_the_run(trainer_of, log, optimizer):
    trainer = trainer_of(optimizer)
    overflow(trainer.model)
    for _ in range(MAX_OVERFLOWS - 1):
        trainer.train_step(log)
    with pytest.raises(FloatingPointError, match="step 20: the fp16 gradient overflowed 20 times"):
        trainer.train_step(log)


def test_the_norm_that_clips_is_of_the_unscaled_gradient(trainer_of, log, tmp_path):
    norms = []
    for scale in (1.0, 2.0**20):
        trainer = trainer_of("adamw")
        trainer.accelerator.scaler.load_state_dict(
            {**trainer.accelerator.scaler.state_dict(), "scale": scale}
        )
        trainer.train_step(log)
    norms = [line["grad_norm"] for line in strict_lines(tmp_path / "metrics.jsonl")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_a_run_that_changed_no_weight_has_not_finished(tiny_gpt2, tmp_path, monkeypatch):
    from llmkit.workflows import finetune

    def start_with_scaler(*arguments):
        accelerator = start_accelerator(*arguments)
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
    assert last < "step-00000006", "so that it can go on otherwise"
    lines = strict_lines(tmp_path / "run" / "metrics.jsonl")
    assert sum("left_out" in line for line in lines) == 6


def test_what_is_no_number_in_json_is_null():
    content = {"a": math.nan, "b": [1.5, -math.inf, {"c": (math.inf, 2)}], "d": "NaN", "e": True}
    expected = {"a": None, "b": [1.5, None, {"c": [None, 2]}], "d": "NaN", "e": True}
    assert json.loads(to_json(content), parse_constant=pytest.fail) == expected
