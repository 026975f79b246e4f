"""Runs that are stopped and resumed, and the traces that they leave."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rows import summary_rows, write_jsonl
from runs import forget_accelerator

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Recipe
from llmkit.paths import sha256
from llmkit.runtime.signals import Signals, Stopped
from llmkit.training.trainer import Trainer
from llmkit.workflows.finetune import finetune

KEEP_ALL = ("checkpoint.keep=3", "checkpoint.every=1", "train.dropout=0.1")


def six_steps(model: Path, folder: Path, *overrides: str) -> Recipe:
    """A recipe of six steps over two epochs, with micro-batches of two sizes."""
    rows = summary_rows(20)
    for number, row in enumerate(rows):
        row["summary"] *= 1 + number % 3
    path = write_jsonl(folder / "rows.jsonl", rows)
    return load_recipe(
        "summarize",
        overrides=(
            f"model={model}",
            *(f"data.{split}={path}" for split in ("train", "validation", "test")),
            "data.max_length=128", "train.epochs=null", "train.max_steps=6",
            "train.global_batch_size=8", "train.micro_batch_size=3", "train.log_every=1",
            "train.learning_rate=1e-3", "train.mixed_precision=no", "evaluation.every=2",
            "evaluation.validation_rows=4", "evaluation.test_rows=4",
            "generation.max_new_tokens=4", *overrides,
        ),
    )  # fmt: skip


def run_to_the_end(recipe, run, **options):
    forget_accelerator()
    with Signals() as signals:
        finetune(recipe, run, Console(quiet=True), signals, **options)


def stop_after(monkeypatch, step: int, number=signal.SIGTERM) -> None:
    """Send this process a signal at the end of that step."""
    train_step = Trainer.train_step

    def train_and_send(trainer, log):
        train_step(trainer, log)
        if trainer.progress.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "train_step", train_and_send)


def run_until(recipe, run, monkeypatch, step: int) -> None:
    """Run until a signal stops the run after that step."""
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(Stopped) as caught:
            run_to_the_end(recipe, run)
    assert caught.value.exit_code == 143


def stopped_run(model: Path, folder: Path) -> Path:
    """A run that was stopped after its second step, with the checkpoint of that step."""
    settings = six_steps(model, folder, "checkpoint.every=1", "checkpoint.keep=1")
    with pytest.MonkeyPatch.context() as patch:
        run_until(settings, folder / "run", patch, 2)
    return folder / "run"


def interrupted(recipe, run, monkeypatch, step: int) -> None:
    """Run, stop after that step, and resume."""
    run_until(recipe, run, monkeypatch, step)
    run_to_the_end(recipe, run, resume=True)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def traces(run: Path) -> dict[str, Any]:
    """Everything in a run that must not depend on interruptions: weights, optimizer state,
    progress, scores, samples, and all logged values except the speed."""
    last = sorted((run / "checkpoints").iterdir())[-1]
    files = [run / "model" / "model.safetensors", run / "predictions.jsonl"]
    files += [last / name for name in ("weights.safetensors", "optimizer.safetensors")]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    samples = run / "samples.jsonl"
    return {
        **{
            path.name: sha256(path) for path in files if path.is_file()
        },  # pretrain predicts nothing
        "checkpoint": last.name,
        "progress": json.loads((last / "state.json").read_text())["progress"],
        "log": [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines],
        "samples": samples.read_text() if samples.is_file() else "",
        "scores": json.loads((run / "metrics.json").read_text())["scores"],
    }
