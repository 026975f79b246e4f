"""Resuming starts with the use of memory that the run had."""

import re
from functools import partial
from io import StringIO

import pytest
import torch
from rich.console import Console
from runs import forget_accelerator
from stopped_runs import run_until, six_steps, traces

from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import has_activation_checkpointing
from llmkit.training import trainer as trainer_file
from llmkit.training.resume import ResumePoint, with_memory_of_run
from llmkit.training.state import ReproducibilityKey, TrainingProgress
from llmkit.workflows.finetune import finetune


@pytest.mark.parametrize(
    ("checkpointing", "expected"),
    [("null", "up to 2 rows.*activation checkpointing on"),
     ("false", "up to 1 row .*activation checkpointing off")],
)  # fmt: skip
def test_resume_starts_with_what_a_lack_of_memory_has_changed(
    recipe, tmp_path, monkeypatch, checkpointing, expected
):
    class Scarce(SupervisedLoss):
        def forward(self, batch):
            if len(batch.lengths) > 1 and not has_activation_checkpointing(self.model):
                raise torch.OutOfMemoryError("for 1 GiB")
            return super().forward(batch)

    settings = recipe("train.micro_batch_size=2", f"train.activation_checkpointing={checkpointing}")
    with monkeypatch.context() as patch:
        patch.setattr(trainer_file, "SupervisedLoss", Scarce)
        run_until(settings, tmp_path / "run", patch, 2)
        forget_accelerator()
        console = Console(file=StringIO(), width=200)
        finetune(settings, tmp_path / "run", console, resume=True)
    shown = console.file.getvalue()
    assert re.search(expected, shown, re.DOTALL), shown
    assert "out of memory" not in shown
    log = traces(tmp_path / "run")["log"]
    assert sum("out of memory" in line.get("note", "") for line in log) == 1


def resume_point_of(recipe, **progress) -> ResumePoint:
    key = ReproducibilityKey.model_construct(num_processes=2, device="cpu")
    progress = TrainingProgress(**progress)
    return ResumePoint.model_construct(recipe=recipe, reproducibility_key=key, progress=progress)


@pytest.mark.parametrize(
    ("before", "now", "num_processes", "expected"),
    [
        ((), (), 2, (None, 70, True)),
        ((), (), 1, (None, None, None)),
        ((), ("train.micro_batch_tokens=90",), 2, (None, 90, True)),
        ((), ("train.micro_batch_size=2",), 2, (2, None, True)),
        ((), ("train.activation_checkpointing=false",), 2, (None, 70, False)),
        (("train.activation_checkpointing=true",), (), 2, (None, 70, None)),
    ],
)
def test_memory_is_used_as_before_unless_the_recipe_changes_it(
    tiny_gpt2, tmp_path, before, now, num_processes, expected
):
    made = partial(six_steps, tiny_gpt2, tmp_path, "train.micro_batch_size=null")
    point = resume_point_of(made(*before), micro_batch_tokens=70, activation_checkpointing=True)
    found = with_memory_of_run(point, made(*now).train, num_processes)
    assert (
        found.micro_batch_size, found.micro_batch_tokens, found.activation_checkpointing
    ) == expected  # fmt: skip


def test_checkpoints_of_earlier_versions_leave_activation_checkpointing_to_the_plan(
    tiny_gpt2, tmp_path
):
    settings = six_steps(tiny_gpt2, tmp_path)
    point = resume_point_of(settings, micro_batch_size=1)
    found = with_memory_of_run(point, settings.train, 2)
    assert (found.micro_batch_size, found.activation_checkpointing) == (1, None)
