"""Whole runs: their folder, and what training changes."""

import json
from functools import partial

import pytest
import torch
from rich.console import Console
from runs import forget_accelerator, four_steps, read_metrics
from transformers import GPT2LMHeadModel

from llmkit.model.load import load_model
from llmkit.workflows.finetune import finetune


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(four_steps, tiny_gpt2, tmp_path)


def test_a_finished_run_contains_the_documented_files(recipe, tmp_path):
    run = tmp_path / "run"
    results = finetune(recipe("evaluation.every=2"), run, Console(quiet=True)).results
    assert {path.name for path in run.iterdir()} == {
        "recipe.yaml", "run.json", "metrics.jsonl", "metrics.json", "predictions.jsonl", "model",
        "report.html", "checkpoints", ".lock",
    }  # fmt: skip
    steps, validations = read_metrics(run)
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert set(steps[0]) == {
        "step", "loss", "learning_rate", "grad_norm", "tokens_per_second", "tokens_seen",
    }  # fmt: skip
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


def test_forward_pass_and_packing_do_not_change_the_losses(recipe, tmp_path):
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


def test_loss_falls_and_is_reproducible(recipe, tmp_path):
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
def test_only_the_weights_that_are_trained_change(recipe, tiny_gpt2, tmp_path, overrides, moves):
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
