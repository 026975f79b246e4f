"""Learning-rate schedules and optimizers."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from runs import four_steps

from llmkit.config.schema import Train
from llmkit.model.load import load_model
from llmkit.model.trainable import trainable_model
from llmkit.training.optim import build_optimizer, learning_rate_at


def rates(num_steps=100, **settings):
    train = Train(epochs=1.0, learning_rate=1.0, **settings)
    return [learning_rate_at(step, num_steps, train) for step in range(num_steps)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "warmup_stable_decay"])
def test_warm_up_rises_linearly_to_the_peak(schedule):
    course = rates(schedule=schedule, warmup_steps=10)
    assert course[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(course) == course[10] == 1.0
    assert all(a >= b for a, b in pairwise(course[10:]))


def test_warm_up_below_1_is_a_share_of_the_steps():
    assert rates(warmup_steps=0.1) == rates(warmup_steps=10)
    assert rates(warmup_steps=0.0) == rates(warmup_steps=0)
    assert rates(num_steps=7, warmup_steps=0.5) == rates(num_steps=7, warmup_steps=4)
    assert rates(num_steps=3, warmup_steps=0.01) == rates(num_steps=3, warmup_steps=1)


def test_learning_rate_after_the_warm_up():
    assert rates(schedule="constant")[-1] == 1.0
    assert rates(schedule="linear")[50] == pytest.approx(0.5)
    assert rates(schedule="cosine")[50] == pytest.approx(0.5)
    assert rates(schedule="cosine", min_learning_rate=0.1)[-1] == pytest.approx(0.1, abs=1e-3)
    stable = rates(schedule="warmup_stable_decay", decay_steps=20)
    assert stable[79] == 1.0
    assert stable[90] == pytest.approx(0.5)


def test_cosine_schedule_agrees_with_transformers():
    from transformers import get_cosine_schedule_with_warmup

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 0, 40)
    theirs = []
    for _ in range(40):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(40, schedule="cosine") == pytest.approx(theirs)


@pytest.mark.parametrize("name", ["adamw", "rmsprop", "sgd", "adafactor"])
def test_every_optimizer_lowers_the_loss(name, tiny_gpt2):
    model, _ = load_model(str(tiny_gpt2))
    optimizer = build_optimizer(model, Train(epochs=1.0, learning_rate=1e-2, optimizer=name))
    ids = torch.arange(40)[None]
    losses = []
    for _ in range(8):
        loss = model(ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_only_matrices_decay(tiny_gpt2):
    model, _ = load_model(str(tiny_gpt2))
    optimizer = build_optimizer(model, Train(epochs=1.0, weight_decay=0.1))
    decayed, spared = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert all(p.ndim == 2 for p in decayed["params"])
    assert spared["weight_decay"] == 0
    assert all(p.ndim == 1 for p in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(four_steps, tiny_gpt2, tmp_path)


def test_optimizer_holds_only_trained_weights(tiny_gpt2, recipe):
    model, _ = load_model(str(tiny_gpt2))
    settings = recipe("train.method=lora")
    adapted = trainable_model(model, settings.train)
    held = sum(
        p.numel()
        for g in build_optimizer(adapted, settings.train).param_groups
        for p in g["params"]
    )
    assert held == sum(p.numel() for p in adapted.parameters() if p.requires_grad) < 10_000
