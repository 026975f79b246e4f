"""The path for CUDA, without a GPU: its arithmetic, kernels, host synchronizations and copies."""

import random
from types import SimpleNamespace

import pytest
import torch
from device_work import DeviceWork, gpu_path
from forward_cases import CASES, SHORT_CASES, loss_and_gradients, trained_model
from gradient_cases import random_rows, schedule_of
from rich.console import Console
from runs import forget_accelerator
from torch import nn
from torch.nn.utils import clip_grad_norm_
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Lora, Train
from llmkit.data.batches import UNLIMITED, Batch, collate
from llmkit.families.gpt2 import fuse_gelu
from llmkit.families.padding_free import RowBounds, cuda_attention
from llmkit.model import half_weights
from llmkit.model import loss as loss_file
from llmkit.model.load import load_model
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import add_lora, freeze_layers, set_dropout
from llmkit.runtime.devices import start_accelerator
from llmkit.training.log import RunLog
from llmkit.training.optim import build_optimizer
from llmkit.training.step import forward_backward
from llmkit.training.trainer import Trainer


def group_as_wide_models(monkeypatch, trained: str) -> None:
    """Group weights as in GPT-2 124M, of which two blocks are too large to share a group, but all
    adapters are not."""
    if trained != "lora":
        monkeypatch.setattr(half_weights, "GROUP_WEIGHTS", 0)


def twelve_blocks(trained: str, dropout: float = 0.1) -> nn.Module:
    """A model with the blocks of GPT-2 124M, but narrow; kernels do not depend on the width."""
    torch.manual_seed(0)
    shape = {"n_layer": 12, "n_head": 1, "n_embd": 8, "n_positions": 1024, "vocab_size": 70}
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0))
    fuse_gelu(model)
    set_dropout(model, dropout)
    for block in model.transformer.h:
        block.attn.attn_dropout.p = 0.0  # the CPU's stand-in for the kernel has none
    if trained == "lora":
        model = add_lora(model, Lora(), 0)
    if trained == "frozen":
        freeze_layers(model, 6)
    return model.train()


def batch_of(num_rows: int, length: int) -> Batch:
    ids = [number % 70 for number in range(length)]
    return collate([{"input_ids": ids, "labels": ids}] * num_rows, UNLIMITED)


def loss_in_half_precision(model: nn.Module) -> SupervisedLoss:
    loss = SupervisedLoss(model, "padding_free")
    loss.use_half_weights(torch.bfloat16)
    return loss


def kernels_of(model: nn.Module, batch: Batch) -> int:
    """Kernels of a forward and backward pass in bf16."""
    model.zero_grad()
    with gpu_path():
        loss = loss_in_half_precision(model)
        with torch.autocast("cpu", torch.bfloat16), DeviceWork("cpu") as work:
            loss(batch).backward()
    return sum(work.kernels.values())


SHORT = CASES | {name: SHORT_CASES[name] for name in ("ragged", "all labels")}
LONG = {f"{name}, long": CASES[name] for name in ("ragged", "all labels")}
SLOW = ("1,024 tokens", *LONG)


@pytest.mark.parametrize("trained", ["full", "lora", "frozen"])
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(rows, id=case, marks=[pytest.mark.slow] if case in SLOW else [])
        for case, rows in (SHORT | LONG).items()
    ],
)
def test_loss_and_gradients_of_the_gpu_path_are_close_to_float32(trained, rows):
    model = trained_model(trained)
    exact, gradients = loss_and_gradients(model, rows, "transformers")
    model.zero_grad()
    with gpu_path(), torch.autocast("cpu", torch.bfloat16):
        loss = loss_in_half_precision(model)(collate(rows, UNLIMITED))
        loss.backward()
    assert loss.item() == pytest.approx(exact, rel=2e-3)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert found[name].dtype == torch.float32
        assert (found[name] - gradient).norm() <= 0.05 * gradient.norm() + 1e-6, name


@pytest.mark.parametrize(
    ("trained", "dropout", "most"),
    [("full", 0.1, 600), ("lora", 0.1, 730), ("lora", 0.0, 680), ("frozen", 0.1, 500)],
)
def test_kernels_are_few_and_do_not_depend_on_the_number_of_rows(
    monkeypatch, trained, dropout, most
):
    # Sixteen times shorter than 64 rows of 240 tokens, with the same number of pieces of logits.
    monkeypatch.setattr(loss_file, "LOGIT_ROWS_ON_GPU", loss_file.LOGIT_ROWS_ON_GPU // 16)
    group_as_wide_models(monkeypatch, trained)
    model = twelve_blocks(trained, dropout)
    many = kernels_of(model, batch_of(64, 15))
    assert many <= most
    assert many == kernels_of(model, batch_of(4, 240))


@pytest.mark.parametrize(("trained", "most"), [("full", 16), ("lora", 2), ("frozen", 8)])
def test_a_further_micro_batch_adds_its_gradients_in_few_kernels(monkeypatch, trained, most):
    """In one for each block, and for weights outside of the blocks one each."""
    group_as_wide_models(monkeypatch, trained)
    model, counts = twelve_blocks(trained), []
    with gpu_path(), torch.autocast("cpu", torch.bfloat16):
        loss = loss_in_half_precision(model)
        for _ in range(3):
            with DeviceWork("cpu") as work:
                loss(batch_of(4, 20)).backward()
            counts.append(sum(work.kernels.values()))
    assert counts[1] <= counts[0] + most
    assert counts[2] == counts[1]


@pytest.mark.parametrize(("trained", "most"), [("full", 30), ("lora", 20)])
def test_the_update_of_all_weights_takes_few_kernels(trained, most):
    """Clipping, optimizer and copies in half precision: a kernel or two for 64 weights each."""
    model = twelve_blocks(trained)
    loss = loss_in_half_precision(model)
    optimizer = build_optimizer(model, Train(max_steps=1))
    with torch.autocast("cpu", torch.bfloat16):
        loss(batch_of(2, 5)).backward()
    optimizer.step()  # the first one allocates its state
    with DeviceWork("cpu") as work:
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.half_weights.refresh()
    assert sum(work.kernels.values()) <= most, work.kernels


@pytest.mark.parametrize(
    ("head_dim", "dtype", "capability", "kernel"),
    [
        (64, torch.bfloat16, (9, 0), "flash"),
        (192, torch.float16, (8, 0), "flash"),
        (200, torch.bfloat16, (9, 0), "efficient"),
        (512, torch.float16, (8, 6), "efficient"),
        (64, torch.float32, (9, 0), "efficient"),
        (64, torch.float16, (7, 5), "efficient"),
    ],
)
def test_flash_attention_is_called_only_where_it_is_implemented(
    monkeypatch, head_dim, dtype, capability, kernel
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    qkv = torch.empty(9, 3 * 2 * head_dim, dtype=dtype, device="meta")
    rows = RowBounds([4, 5], torch.empty(3, dtype=torch.int32, device="meta"))
    with DeviceWork("meta") as work:
        assert cuda_attention(qkv, rows, 2, 0.0).shape == (9, 2 * head_dim)
    assert list(work.kernels) == [f"aten._{kernel}_attention_forward"]


@pytest.mark.parametrize("num_micro_batches", [1, 3])
def test_a_step_copies_each_micro_batch_at_once_and_waits_for_nothing(num_micro_batches):
    device = torch.device("meta")
    model = twelve_blocks("full", dropout=0.0).to(device)
    accelerator = SimpleNamespace(
        device=device, num_processes=1, backward=torch.Tensor.backward, reduce=lambda x, _: x
    )
    schedule = SimpleNamespace(num_supervised=lambda step: 1000)
    batches = [batch_of(3, length) for length in range(5, 5 + num_micro_batches)]
    with gpu_path(), DeviceWork("meta") as work:
        forward_backward(SupervisedLoss(model, "padding_free"), batches, schedule, 0, accelerator)
    assert work.synchronizations == {}
    assert sum(work.uploads.values()) == num_micro_batches
    assert sum(work.kernels.values()) > num_micro_batches * 12 * 20


def test_the_host_reads_loss_and_gradient_norm_at_once(tiny_gpt2, tmp_path, monkeypatch):
    forget_accelerator()
    recipe = load_recipe(
        "summarize",
        overrides=(f"model={tiny_gpt2}", "train.epochs=null", "train.max_steps=2",
                   "train.global_batch_size=4", "train.micro_batch_size=2"),
    )  # fmt: skip
    accelerator = start_accelerator("cpu", "bf16", 0)
    schedule = schedule_of(random_rows(random.Random(0), 12), recipe, accelerator)
    model = load_model(str(tiny_gpt2))[0]
    set_dropout(model, 0.0)
    trainer = Trainer.build(model, schedule, recipe.train, accelerator)
    reads = []
    tolist = torch.Tensor.tolist

    def read(x):
        if x.is_floating_point():  # not the row order, which never was on the device
            reads.append(len(x))
        return tolist(x)

    monkeypatch.setattr(torch.Tensor, "tolist", read)
    log = RunLog(tmp_path, 2, 1, Console(quiet=True), lambda *_: None)
    with log, gpu_path(), DeviceWork("cpu") as work:
        trainer.train_step(log)
    assert work.synchronizations == {}
    assert reads == [2]
