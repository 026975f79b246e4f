"""The loop: accumulation, processes, methods and the choice of the best weights."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from gradient_cases import schedule_of
from rich.console import Console
from rows import summary_rows, write_jsonl
from runs import forget_accelerator
from transformers import GPT2LMHeadModel

from llmkit.config.recipe import load_recipe
from llmkit.data.encode import EncodingOptions, encode_rows
from llmkit.errors import UserError
from llmkit.model.load import load_model, save_model
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import trainable_model
from llmkit.runtime.devices import start_accelerator
from llmkit.runtime.failures import is_out_of_memory
from llmkit.tasks import get_task
from llmkit.training import trainer as trainer_file
from llmkit.training.optim import build_optimizer
from llmkit.training.state import TrainingProgress
from llmkit.training.step import forward_backward
from llmkit.workflows.finetune import finetune


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    """A short run on 24 rows."""
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(24))

    def make(*overrides: str):
        return load_recipe(
            "summarize",
            overrides=(
                f"model={tiny_gpt2}",
                *(f"data.{split}={path}" for split in ("train", "validation", "test")),
                "data.max_length=128",
                "train.epochs=null",
                "train.max_steps=4",
                "train.global_batch_size=8",
                "train.log_every=1",
                "train.mixed_precision=no",
                "evaluation.validation_rows=4",
                "evaluation.test_rows=4",
                "generation.max_new_tokens=4",
                *overrides,
            ),
        )

    return make


def encode(recipe, tokenizer, rows):
    return encode_rows(rows, get_task("summarize"), tokenizer, EncodingOptions.of(recipe.data))[0]


def gradient(recipe, tiny_gpt2, rows, step=0, accelerator=None):
    model, tokenizer = load_model(str(tiny_gpt2))
    accelerator = accelerator or Accelerator(cpu=True)
    schedule = schedule_of(encode(recipe, tokenizer, rows), recipe, accelerator)
    model.eval()  # no dropout
    loss, _ = forward_backward(
        SupervisedLoss(model, recipe.train.forward),
        schedule.micro_batches(step),
        schedule,
        step,
        accelerator,
    )
    return loss, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("micro_batch_size", [1, 2, 3, 5])
def test_accumulation_gives_the_gradient_of_the_whole_batch(recipe, tiny_gpt2, micro_batch_size):
    rows = summary_rows(8)
    for i, row in enumerate(rows):
        row["summary"] *= i + 1  # ragged: a mean of means would differ
    loss, whole = gradient(recipe("train.micro_batch_size=8"), tiny_gpt2, rows)
    split_loss, split = gradient(
        recipe(f"train.micro_batch_size={micro_batch_size}"), tiny_gpt2, rows
    )
    assert split_loss == pytest.approx(loss, rel=1e-6)
    assert (split - whole).norm() / whole.norm() < 1e-6


def test_engine_and_packing_change_the_layout_and_nothing_else(recipe, tmp_path):
    runs = []
    layouts = (
        ("train.forward=padding_free",),
        ("train.forward=transformers",),
        ("train.forward=transformers", "data.packing=true"),
    )
    for number, layout in enumerate(layouts):
        settings = recipe(*layout, "train.micro_batch_size=4", "train.dropout=0")
        run = tmp_path / f"run{number}"
        finetune(settings, run, Console(quiet=True))
        runs.append([line["loss"] for line in read_metrics(run)[0]])
    assert len(runs[0]) == 4
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)
    assert runs[2] == pytest.approx(runs[1], rel=1e-5)


def test_the_last_short_step_of_an_epoch_is_used_with_its_own_count(recipe, tiny_gpt2):
    rows = summary_rows(11)
    tokenizer = load_model(str(tiny_gpt2))[1]
    schedule = schedule_of(encode(recipe(), tokenizer, rows), recipe())
    assert schedule.steps_per_epoch == 2
    assert sorted(schedule.step_indices(0) + schedule.step_indices(1)) == list(range(11))
    assert len(schedule.step_indices(1)) == 3
    assert schedule.num_supervised(1) == sum(
        schedule.supervised[i] for i in schedule.step_indices(1)
    )


def read_metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return (
        [line for line in lines if "split" not in line],
        [line for line in lines if "split" in line],
    )


def test_a_run_folder_holds_what_it_should(recipe, tmp_path):
    run = tmp_path / "run"
    results = finetune(recipe("evaluation.every=2"), run, Console(quiet=True)).results
    assert {path.name for path in run.iterdir()} == {
        "recipe.yaml", "run.json", "metrics.jsonl", "metrics.json", "predictions.jsonl", "model",
        "report.html", "checkpoints", ".lock",
    }  # fmt: skip
    steps, validations = read_metrics(run)
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert set(steps[0]) == {"step", "loss", "learning_rate", "grad_norm", "tokens_per_second"}
    assert [line["step"] for line in validations] == [2, 4]
    predictions = [json.loads(line) for line in (run / "predictions.jsonl").open()]
    columns = {"id", "prompt", "prediction", "references", "score", "ended", "expected_tokens"}
    assert [set(row) for row in predictions] == [columns] * 4
    assert predictions[0]["prompt"].endswith("\n\nTL;DR:")
    baselines = {"lead-1", "lead-3", "random-3", "copy of the source"}
    assert set(results.systems) == {"fine-tuned", "untuned", *baselines}
    facts = json.loads((run / "run.json").read_text())
    assert facts["libraries"]["torch"]
    assert facts["data"]["train"]["rows"] == 24
    assert len(facts["model"]["sha256"]) == 64
    model = GPT2LMHeadModel.from_pretrained(run / "model")
    assert model.config.resid_pdrop == 0.1, "the config keeps the base model's dropout"


def test_the_loss_falls_and_is_repeatable(recipe, tmp_path):
    losses = []
    for name in ("one", "two"):
        settings = recipe("train.max_steps=12", "train.learning_rate=5e-3")
        finetune(settings, tmp_path / name, Console(quiet=True))
        losses.append([line["loss"] for line in read_metrics(tmp_path / name)[0]])
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0] - 0.5


@pytest.mark.parametrize(
    ("overrides", "moves"),
    [
        ((), {"wte", "wpe", "h.0", "h.1", "ln_f"}),
        (("train.freeze_layers=1",), {"h.1", "ln_f"}),
        (("train.method=lora",), {"h.0", "h.1"}),
        (("train.method=lora", "train.freeze_layers=1"), {"h.1"}),
    ],
)
def test_exactly_the_right_weights_change(recipe, tiny_gpt2, tmp_path, overrides, moves):
    finetune(recipe(*overrides, "train.learning_rate=1e-2"), tmp_path / "run", Console(quiet=True))
    before, _ = load_model(str(tiny_gpt2))
    after, _ = load_model(str(tmp_path / "run" / "model"))
    changed = set()
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        if not torch.equal(old, new):
            parts = name.removeprefix("transformer.").split(".")
            changed.add(".".join(parts[:2]) if parts[0] == "h" else parts[0])
    assert changed == moves


def test_bf16_trains_close_to_fp32(recipe, tmp_path):
    for precision in ("no", "bf16"):
        settings = recipe(f"train.mixed_precision={precision}", "train.max_steps=6")
        finetune(settings, tmp_path / precision, Console(quiet=True))
        forget_accelerator()
    full = [line["loss"] for line in read_metrics(tmp_path / "no")[0]]
    half = [line["loss"] for line in read_metrics(tmp_path / "bf16")[0]]
    assert full != half
    assert half == pytest.approx(full, rel=0.02)


def test_validation_leaves_training_as_it_is(recipe, tmp_path):
    """Dropout does not depend on what was drawn in between."""
    losses = {}
    for every in (1, 4):
        settings = recipe(f"evaluation.every={every}", "train.dropout=0.3", "train.max_steps=4")
        finetune(settings, tmp_path / str(every), Console(quiet=True))
        losses[every] = [line["loss"] for line in read_metrics(tmp_path / str(every))[0]]
    assert losses[1] == losses[4]


def test_the_environment_does_not_change_the_gradient(recipe, tiny_gpt2, monkeypatch):
    rows = summary_rows(8)
    loss, whole = gradient(recipe(), tiny_gpt2, rows)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    forget_accelerator()
    accelerator = start_accelerator("cpu", "auto", 0)
    assert accelerator.gradient_accumulation_steps == 1
    assert gradient(recipe(), tiny_gpt2, rows, accelerator=accelerator)[0] == loss
    assert torch.equal(gradient(recipe(), tiny_gpt2, rows, accelerator=accelerator)[1], whole)


@pytest.fixture
def broken_far_out(tiny_gpt2, tmp_path):
    """A model that knows nothing but NaN about positions from 100 on."""
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


def test_steps_that_are_not_finite_are_left_out_where_the_recipe_allows(
    recipe, broken_far_out, tmp_path
):
    settings = recipe(
        f"model={broken_far_out}", f"data.train={with_one_long_row(tmp_path)}",
        "train.global_batch_size=3", "train.max_steps=8", "train.max_nonfinite_steps=1",
    )  # fmt: skip
    finetune(settings, tmp_path / "run", Console(quiet=True))
    steps, _ = read_metrics(tmp_path / "run")
    (left_out,) = [line for line in steps if "left_out" in line]
    assert "long.jsonl:10" in left_out["left_out"]
    assert len(steps) == 8
    saved = load_model(str(tmp_path / "run" / "model"))[0].transformer.wte.weight
    assert torch.isfinite(saved).all()


class Tight(SupervisedLoss):
    """A loss that runs out of memory beyond so many tokens, in the middle of a step."""

    room = 260

    def forward(self, input_ids, *arguments, **batch):
        if input_ids.numel() > self.room:
            raise torch.OutOfMemoryError("for 1 GiB")
        return super().forward(input_ids, *arguments, **batch)


def test_out_of_memory_halves_the_micro_batch_and_changes_nothing(
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


def test_a_row_that_does_not_fit_alone_ends_in_one_line(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_file, "SupervisedLoss", Tight)
    monkeypatch.setattr(Tight, "room", 20)
    with pytest.raises(
        UserError, match=r"out of memory with micro-batches of 1; lower data\.max_length"
    ):
        finetune(recipe("train.max_steps=1"), tmp_path / "run", Console(quiet=True))


def test_the_best_is_finite_and_of_equal_scores_the_one_of_lower_loss():
    progress = TrainingProgress()
    scores = [(1.0, 9.0), (3.0, 5.0), (3.0, 4.0), (3.0, 4.0), (2.0, 1.0), (math.nan, 1.0)]
    found = []
    for step, (rouge, loss) in enumerate(scores):
        progress.step = step
        found.append(progress.update_best({"rougeL": rouge, "loss": loss}, "rougeL", True))
    assert found == [True, True, True, False, False, False]
    assert progress.best_step == 2
    assert progress.validations_without_improvement == 3
    lower = TrainingProgress()
    assert [lower.update_best({"loss": s}, "loss", False) for s in [2.0, 1.0, 1.5]] == [1, 1, 0]
    assert not TrainingProgress().update_best({"loss": math.nan}, "loss", False)


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


def test_the_optimizer_holds_only_what_is_trained(tiny_gpt2, recipe):
    model, _ = load_model(str(tiny_gpt2))
    settings = recipe("train.method=lora")
    adapted = trainable_model(model, settings.train)
    held = sum(
        p.numel()
        for g in build_optimizer(adapted, settings.train).param_groups
        for p in g["params"]
    )
    assert held == sum(p.numel() for p in adapted.parameters() if p.requires_grad) < 10_000


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**62 // 4), lambda: np.empty(2**50)])
def test_a_failed_allocation_on_the_cpu_is_out_of_memory(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
