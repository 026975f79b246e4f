"""Models, rows and prompts for which both forward passes must agree, on CPU and GPU."""

import random

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.config.schema import Lora
from llmkit.constants import IGNORE_INDEX
from llmkit.data.batches import UNLIMITED, collate
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import add_lora, freeze_layers, set_dropout

PROMPTS = [[5, 6, 7], [9] * 20, [8], [30, 31, 32, 33, 34]]
LABELS = {
    "one": [40, 2], "same start": [40, 41, 2], "longer": [40, 41, 42, 2],
    "long": [50, 51, 52, 53, 2], "same end": [60, 53, 2],
}  # fmt: skip


def small_model(n_positions: int = 1024, **changes) -> GPT2LMHeadModel:
    torch.manual_seed(1)
    config = GPT2Config(
        n_layer=3, n_head=4, n_embd=64, vocab_size=320, n_positions=n_positions, **changes
    )
    model = GPT2LMHeadModel(config)
    set_dropout(model, 0.0)
    return model.train()


def rows_of(lengths: list[int], seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for length in lengths:
        ids = [rng.randrange(320) for _ in range(length)]
        start = rng.randrange(length)
        rows.append({"input_ids": ids, "labels": [IGNORE_INDEX] * start + ids[start:]})
    return rows


def loss_and_gradients(model: nn.Module, rows: list[dict], forward: str):
    model.zero_grad()
    batch = collate(rows, UNLIMITED if forward == "padding_free" else None)
    device = next(model.parameters()).device
    loss = SupervisedLoss(model, forward)(batch.to(device))
    loss.backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return loss.item(), gradients


CASES = {
    "ragged": rows_of([7, 40, 3, 2, 19, 300]),
    "one row": rows_of([25]),
    "1,024 tokens": rows_of([1024, 5, 257]),
    "equal rows": rows_of([31] * 6),
    "a row without a label": [*rows_of([9, 20]), {"input_ids": [3, 4], "labels": [-100, -100]}],
    "no label at all": [{"input_ids": [3, 4, 5], "labels": [-100] * 3}],
    "all labels": [{"input_ids": row["input_ids"], "labels": row["input_ids"]}
                   for row in rows_of([90, 400, 12])],
}  # fmt: skip
# For half precision on CPUs, most of which emulate it a hundred times more slowly.
SHORT_CASES = {
    "ragged": rows_of([7, 40, 3, 2, 19]),
    "one row": rows_of([25]),
    "equal rows": rows_of([31] * 3),
    "no label at all": CASES["no label at all"],
    "all labels": [{"input_ids": row["input_ids"], "labels": row["input_ids"]}
                   for row in rows_of([9, 50, 12])],
}  # fmt: skip


def trained_model(trained: str) -> nn.Module:
    """A small model with all weights trained (`full`), with adapters (`lora`) or with its lowest
    block `frozen`."""
    model = small_model()
    if trained == "lora":
        model = add_lora(model, Lora(r=4), 1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.05)
    if trained == "frozen":
        freeze_layers(model, 1)
    return model


def assert_close_to_float32(device: str, dtype: torch.dtype) -> None:
    """Require that the padding-free forward pass in half precision agrees with float32: the loss
    within 0.2 %, every gradient within 5 %."""
    model = small_model().to(device)
    exact, gradients = loss_and_gradients(model, CASES["ragged"], "transformers")
    with torch.autocast(device, dtype):
        loss, found = loss_and_gradients(model, CASES["ragged"], "padding_free")
    assert loss == pytest.approx(exact, rel=2e-3)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert found[name].dtype == torch.float32
        assert (found[name] - gradient).norm() <= 0.05 * gradient.norm() + 1e-6, name


def assert_both_forward_passes_agree(model: nn.Module, rows: list[dict]) -> None:
    """Require agreement in float32: the loss within 1e-6, every gradient within 1e-5."""
    expected, gradients = loss_and_gradients(model, rows, "transformers")
    loss, found = loss_and_gradients(model, rows, "padding_free")
    assert loss == pytest.approx(expected, rel=1e-6)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        difference = (found[name] - gradient).norm()
        assert difference <= 1e-5 * gradient.norm() + 1e-9, name
