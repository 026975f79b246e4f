"""The trainer: steps that are skipped, overflow, or run out of memory."""

import math
import random
import re
import shutil
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from gradient_cases import random_rows, schedule_of
from rich.console import Console
from rows import summary_rows, write_jsonl
from runs import forget_accelerator, four_steps, read_metrics, strict_lines
from scalers import cpu_scaler, overflow
from transformers import GPT2LMHeadModel

from llmkit.config.recipe import load_recipe
from llmkit.errors import UserError
from llmkit.evaluation import evaluator as evaluator_file
from llmkit.model.load import load_model, save_model
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import has_activation_checkpointing
from llmkit.runtime.devices import start_accelerator
from llmkit.training import checkpoint as checkpoint_file
from llmkit.training import trainer as trainer_file
from llmkit.training.log import RunLog
from llmkit.training.step import MAX_OVERFLOWS, StepOutcome
from llmkit.training.trainer import Trainer
from llmkit.workflows.finetune import finetune


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(four_steps, tiny_gpt2, tmp_path)


@pytest.fixture
def broken_far_out(tiny_gpt2, tmp_path):
    """A model whose position embeddings are NaN from position 100 on."""
    folder = shutil.copytree(tiny_gpt2, tmp_path / "broken")
    model, tokenizer = load_model(str(folder))
    model.transformer.wpe.weight.data[100:] = math.nan
    save_model(model, tokenizer, folder)
    return folder


def with_one_long_row(tmp_path):
    rows = summary_rows(24)
    rows[9]["document"] *= 3
    return write_jsonl(tmp_path / "long.jsonl", rows)


def test_a_loss_that_is_not_finite_stops_before_the_step(recipe, broken_far_out, tmp_path):
    long = with_one_long_row(tmp_path)
    settings = recipe(
        f"model={broken_far_out}", f"data.train={long}", "train.global_batch_size=8",
        "train.micro_batch_size=2", "train.max_steps=3", "evaluation.every=1",
    )  # fmt: skip
    with pytest.raises(FloatingPointError) as error:
        finetune(settings, tmp_path / "run", Console(quiet=True))
    found = re.fullmatch(
        r"step (\d): the loss is nan .*\(rows (.*)\); stopped before .*", str(error.value)
    )
    assert f"{long}:10" in found[2].split(", ")
    assert len(found[2].split(", ")) == 2, "the rows of its micro-batch"
    steps, _ = read_metrics(tmp_path / "run")
    assert len(steps) == int(found[1]) - 1
    if steps:
        saved = load_model(str(tmp_path / "run" / "model"))[0].transformer.wte.weight
        assert torch.isfinite(saved).all()


def test_nonfinite_steps_are_skipped_up_to_the_recipes_limit(recipe, broken_far_out, tmp_path):
    settings = recipe(
        f"model={broken_far_out}", f"data.train={with_one_long_row(tmp_path)}",
        "train.global_batch_size=3", "train.max_steps=8", "train.max_nonfinite_steps=1",
    )  # fmt: skip
    finetune(settings, tmp_path / "run", Console(quiet=True))
    steps, _ = read_metrics(tmp_path / "run")
    (skipped,) = [line for line in steps if "skipped" in line]
    assert "long.jsonl:10" in skipped["skipped"]
    assert len(steps) == 8
    saved = load_model(str(tmp_path / "run" / "model"))[0].transformer.wte.weight
    assert torch.isfinite(saved).all()


class Tight(SupervisedLoss):
    """A loss that runs out of memory above `room` tokens, in the middle of a step."""

    room = 260

    def forward(self, batch):
        if batch.input_ids.numel() > self.room:
            raise torch.OutOfMemoryError("for 1 GiB")
        return super().forward(batch)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_losses(
    recipe, tiny_gpt2, tmp_path, monkeypatch
):
    settings = recipe(
        "train.max_steps=4", "train.dropout=0", "train.global_batch_size=8",
    )  # fmt: skip
    finetune(settings, tmp_path / "roomy", Console(quiet=True))
    monkeypatch.setattr(trainer_file, "SupervisedLoss", Tight)
    finetune(settings, tmp_path / "tight", Console(quiet=True))
    roomy, tight = (read_metrics(tmp_path / name)[0] for name in ("roomy", "tight"))
    notes = [line["note"] for line in tight if "note" in line]
    assert notes
    assert all("out of memory; micro-batches of" in note for note in notes)
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (roomy, tight)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_row_that_does_not_fit_alone_is_refused_in_one_line(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_file, "SupervisedLoss", Tight)
    monkeypatch.setattr(Tight, "room", 20)
    with pytest.raises(
        UserError,
        match=r"out of memory with micro-batches of up to [\d,]+ tokens; lower data\.max_length",
    ):
        finetune(recipe("train.max_steps=1"), tmp_path / "run", Console(quiet=True))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_runs_with_and_without_checkpointing_end_with_the_same_bits(recipe, tmp_path, method):
    """In bf16, with copies of the weights only where activations are kept."""
    for name, value in (("kept", "false"), ("computed-again", "true")):
        settings = recipe(
            "train.max_steps=2", "train.dropout=0.1", "train.mixed_precision=bf16",
            f"train.method={method}", f"train.activation_checkpointing={value}",
        )  # fmt: skip
        finetune(settings, tmp_path / name, Console(quiet=True))
    lines = [read_metrics(tmp_path / name)[0] for name in ("kept", "computed-again")]
    losses = [[line["loss"] for line in each if "loss" in line] for each in lines]
    assert losses[0] == losses[1]
    weights = [
        (tmp_path / name / "model" / "model.safetensors").read_bytes()
        for name in ("kept", "computed-again")
    ]
    assert weights[0] == weights[1]


def test_out_of_memory_checkpoints_before_micro_batches_are_of_one_row(
    recipe, tmp_path, monkeypatch
):
    """Losses stay bit-identical, with dropout as well."""
    settings = recipe(
        "train.max_steps=3", "train.global_batch_size=4", "train.dropout=0.1",
        "train.micro_batch_size=2",
    )  # fmt: skip
    finetune(settings, tmp_path / "roomy", Console(quiet=True))

    class Wide(SupervisedLoss):
        def forward(self, batch):
            if len(batch.lengths) > 1 and not has_activation_checkpointing(self.model):
                raise torch.OutOfMemoryError("for 1 GiB")
            return super().forward(batch)

    monkeypatch.setattr(trainer_file, "SupervisedLoss", Wide)
    finetune(settings, tmp_path / "tight", Console(quiet=True))
    lines = read_metrics(tmp_path / "tight")[0]
    assert [line["note"] for line in lines if "note" in line] == [
        "step 1: out of memory; activation checkpointing from here on, which changes no result"
    ]
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name)[0] if "loss" in line]
        for name in ("tight", "roomy")
    ]
    assert losses[0] == losses[1]


def test_the_recipe_can_forbid_checkpointing(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_file, "SupervisedLoss", Tight)
    monkeypatch.setattr(Tight, "room", 20)
    settings = recipe("train.max_steps=1", "train.activation_checkpointing=false")
    with pytest.raises(
        UserError, match=r"lower data\.max_length or set train\.activation_checkpointing=true$"
    ):
        finetune(settings, tmp_path / "run", Console(quiet=True))
    lines = read_metrics(tmp_path / "run")[0]
    assert not any("checkpointing" in line.get("note", "") for line in lines)


def run_out(*_, **__):
    torch.empty(2**60)


@pytest.mark.parametrize(
    ("where", "function", "expected"),
    [
        (torch.optim.AdamW, "step", "step 1: updating the weights: out of memory; set train."),
        (evaluator_file, "score_rows", "scoring 2 rows: out of memory; lower evaluation."),
        (checkpoint_file, "save_file", "saving the checkpoint of step 2: out of memory; "),
        (GPT2LMHeadModel, "save_pretrained", "saving the model of step 2: out of memory; "),
        (GPT2LMHeadModel, "from_pretrained", r"loading [\d.]+ [kM]?B: out of memory; end other"),
        (
            GPT2LMHeadModel,
            "to",
            r"moving the model \([\d.]+ [kM]?B\) to cpu: out of memory; end other",
        ),
    ],
)
def test_out_of_memory_anywhere_ends_in_one_clear_line(
    llmkit, tiny_gpt2, tmp_path, monkeypatch, where, function, expected
):
    monkeypatch.setattr(where, function, run_out)
    done = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", "train.max_steps=2", "data.limit=40",
        "train.global_batch_size=2", "data.max_length=128", "evaluation.validation_rows=2",
        "evaluation.test_rows=2", "generation.max_new_tokens=2", "--run-dir", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 1, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("llmkit: ")]
    assert re.search(expected, line)
    assert "Traceback" not in done.output


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

    return RunLog(tmp_path, 40, 1, Console(quiet=True), ignore)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop", "adafactor"])
def test_overflow_of_the_fp16_gradient_skips_the_step_and_lowers_the_scale(
    trainer_of, log, tmp_path, optimizer
):
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
    assert second == {"step": 2, "skipped": "step 2: the fp16 gradient overflowed"}
    assert math.isfinite(first["grad_norm"])
    assert math.isfinite(third["grad_norm"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_too_many_overflows_in_a_row_stop_the_run(trainer_of, log, optimizer):
    trainer = trainer_of(optimizer)
    overflow(trainer.model)
    for _ in range(MAX_OVERFLOWS - 1):
        trainer.train_step(log)
    with pytest.raises(FloatingPointError, match="step 20: the fp16 gradient overflowed 20 times"):
        trainer.train_step(log)


def test_gradient_is_unscaled_before_it_is_clipped(trainer_of, log, tmp_path):
    norms = []
    for scale in (1.0, 2.0**20):
        trainer = trainer_of("adamw")
        trainer.accelerator.scaler.load_state_dict(
            {**trainer.accelerator.scaler.state_dict(), "scale": scale}
        )
        trainer.train_step(log)
    norms = [line["grad_norm"] for line in strict_lines(tmp_path / "metrics.jsonl")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_step_uses_deterministic_algorithms_if_the_recipe_asks_for_them(
    trainer_of, log, monkeypatch, deterministic
):
    active = []

    @contextmanager
    def record(device, *, enabled):
        active.append((device.type, enabled))
        yield
        active.pop()

    seen = []
    forward = SupervisedLoss.forward
    monkeypatch.setattr(trainer_file, "deterministic_algorithms", record)
    monkeypatch.setattr(
        SupervisedLoss, "forward", lambda *a, **k: seen.append(active[-1]) or forward(*a, **k)
    )
    trainer = trainer_of("adamw")
    trainer.settings = trainer.settings.model_copy(update={"deterministic": deterministic})
    trainer.train_step(log)
    assert set(seen) == {("cpu", deterministic)}
    assert active == []
