"""One optimizer step: its dropout seed, its gradient, and its outcome."""

import math
from functools import partial
from itertools import product

import pytest
import torch
from accelerate import Accelerator
from gradient_cases import schedule_of
from rich.console import Console
from rows import summary_rows
from runs import forget_accelerator, four_steps

from llmkit.data.encode import EncodingOptions, encode_rows
from llmkit.model.load import load_model
from llmkit.model.loss import SupervisedLoss
from llmkit.runtime.devices import start_accelerator
from llmkit.tasks import get_task
from llmkit.training.log import RunLog
from llmkit.training.step import (
    MAX_OVERFLOWS,
    StepOutcome,
    dropout_seed,
    flat_gradients,
    forward_backward,
    step_outcome,
    sum_gradients,
)
from llmkit.training.trainer import Trainer


@pytest.mark.parametrize(
    ("seed", "step", "rank", "expected"),
    [
        (0, 0, 0, 0),
        (0, 0, 1, 1),
        (0, 1, 0, 1_009),
        (1, 0, 0, 1_009_003_027),
        (7, 120, 3, 7_063_142_272),
        (2**31 - 1, 2**20, 1_008, 2_166_817_501_314_013_661),
    ],
)
def test_dropout_seed_is_this_number(seed, step, rank, expected):
    """Pinned: another value would change the losses of every run with dropout."""
    assert dropout_seed(seed, step, rank) == expected < 2**63


def test_dropout_seed_differs_for_every_step_and_process_in_its_lowest_32_bits():
    cases = list(product((0, 1, 2, 41), range(300), (0, 1, 2, 7, 63)))
    assert len({dropout_seed(*case) % 2**32 for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("loss", "grad_norm", "has_scaler", "skips_left", "num_overflows", "expected"),
    [
        (2.0, 1.0, False, 0, 0, StepOutcome.UPDATED),
        (2.0, 1.0, True, 0, MAX_OVERFLOWS - 1, StepOutcome.UPDATED),
        (2.0, math.inf, True, 0, 0, StepOutcome.OVERFLOWED),
        (2.0, math.nan, True, 0, MAX_OVERFLOWS - 2, StepOutcome.OVERFLOWED),
        (2.0, math.inf, True, 5, MAX_OVERFLOWS - 1, StepOutcome.FATAL),
        (2.0, math.inf, False, 1, 0, StepOutcome.SKIPPED),
        (2.0, math.inf, False, 0, 0, StepOutcome.FATAL),
        (math.nan, 1.0, True, 1, 0, StepOutcome.SKIPPED),
        (math.nan, math.nan, True, 0, 0, StepOutcome.FATAL),
        (math.inf, math.inf, False, -1, 0, StepOutcome.FATAL),
    ],
)
def test_outcome_of_a_step(loss, grad_norm, has_scaler, skips_left, num_overflows, expected):
    outcome = step_outcome(
        loss,
        grad_norm,
        has_scaler=has_scaler,
        skips_left=skips_left,
        num_overflows=num_overflows,
    )
    assert outcome is expected


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(four_steps, tiny_gpt2, tmp_path)


def encode(recipe, tokenizer, rows):
    return encode_rows(rows, get_task("summarize"), tokenizer, EncodingOptions.of(recipe.data))[0]


def gradient(recipe, tiny_gpt2, rows, step=0, accelerator=None):
    model, tokenizer = load_model(str(tiny_gpt2))
    accelerator = accelerator or Accelerator(cpu=True)
    schedule = schedule_of(encode(recipe, tokenizer, rows), recipe, accelerator)
    model.eval()  # no dropout
    loss_sum, _ = forward_backward(
        SupervisedLoss(model, recipe.train.forward),
        schedule.micro_batches(step),
        schedule,
        step,
        accelerator,
    )
    loss = loss_sum.item() / schedule.num_supervised(step)
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


def test_accumulation_of_accelerates_environment_is_ignored(recipe, tiny_gpt2, monkeypatch):
    rows = summary_rows(8)
    loss, whole = gradient(recipe(), tiny_gpt2, rows)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    forget_accelerator()
    accelerator = start_accelerator("cpu", "auto", 0)
    assert accelerator.gradient_accumulation_steps == 1
    assert gradient(recipe(), tiny_gpt2, rows, accelerator=accelerator)[0] == loss
    assert torch.equal(gradient(recipe(), tiny_gpt2, rows, accelerator=accelerator)[1], whole)


def test_gradients_are_summed_in_a_buffer_of_one_layout(monkeypatch):
    """A weight without a gradient has its place in it; frozen weights have none."""
    weights = [torch.nn.Parameter(torch.full((size,), float(size))) for size in (2, 3, 1)]
    weights[2].requires_grad_(False)
    sent = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda buffer: sent.append(buffer.clone()))
    gradients = flat_gradients(weights)
    weights[1].square().sum().backward()
    sum_gradients(gradients)
    (weights[0] * weights[1][0] + weights[2]).sum().backward()
    sum_gradients(gradients)
    gradients.zero_()
    sum_gradients(gradients)
    assert [buffer.tolist() for buffer in sent] == [[0, 0, 6, 6, 6], [3, 3, 10, 6, 6], [0] * 5]
    assert weights[2].grad is None


def test_steps_of_several_processes_keep_the_gradients_in_their_buffer(
    recipe, tiny_gpt2, monkeypatch
):
    """Neither the backward pass nor clipping, the optimizer or clearing replaces a view, and the
    weights are bit by bit those of gradients that each step makes anew."""
    settings = recipe("train.micro_batch_size=2", "train.learning_rate=1e-3", "train.dropout=0.0")
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda _: None)  # the other is idle
    after = []
    for has_buffer in (False, True):
        model, tokenizer = load_model(str(tiny_gpt2))
        accelerator = Accelerator(cpu=True)
        schedule = schedule_of(encode(settings, tokenizer, summary_rows(16)), settings)
        trainer = Trainer.build(model, schedule, settings.train, accelerator)
        trainer.gradients = flat_gradients(model.parameters()) if has_buffer else None
        for _ in range(2):
            trainer.train_step(RunLog(None, 2, 1, Console(quiet=True), lambda *_: None))
        after.append([weight.detach().clone() for weight in model.parameters()])
    storages = {weight.grad.untyped_storage().data_ptr() for weight in model.parameters()}
    assert storages == {trainer.gradients.untyped_storage().data_ptr()}
    assert all(map(torch.equal, *after))
