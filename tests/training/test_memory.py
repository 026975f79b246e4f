"""Estimates of the memory of training against measurements, and the choice of micro-batches."""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from datasets import Dataset
from forward_cases import rows_of
from peak_memory import peak_bytes
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.config.schema import Train
from llmkit.data.batches import UNLIMITED, MicroBatchLimit, collate
from llmkit.data.encode import FEATURES
from llmkit.data.encoded_rows import EncodedRows
from llmkit.families import GPT2
from llmkit.families.padding_free import FastDropout, RowBounds, cuda_attention
from llmkit.model import loss
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import set_activation_checkpointing, trainable_model
from llmkit.training import memory
from llmkit.training.memory import BEST_TOKENS, bytes_per_token, memory_usage, plan_memory
from llmkit.training.optim import build_optimizer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import memory_table  # noqa: E402

MARGIN = 0.12  # of what the tensors take
LENGTH, NUM_ROWS, LOGIT_ROWS = 64, 8, 64
CONFIG = GPT2Config(
    n_layer=4, n_head=4, n_embd=96, vocab_size=320, n_positions=LENGTH, bos_token_id=0,
    eos_token_id=0,
)  # fmt: skip


@pytest.fixture
def short_pieces(monkeypatch):
    """Fewer logits at a time, as the micro-batches are small."""
    for module in (loss, memory):
        monkeypatch.setattr(module, "LOGIT_ROWS", LOGIT_ROWS)


def settings_of(**changes) -> Train:
    return Train(max_steps=1, **changes)


def model_of(settings: Train) -> nn.Module:
    model = GPT2LMHeadModel(CONFIG)
    GPT2.optimize(model)
    return trainable_model(model, settings).train()


def micro_batch(model: nn.Module, forward: str, precision: str, *, checkpointing: bool) -> None:
    """The forward and backward pass of full rows, all of whose tokens are supervised."""
    row = {"input_ids": [5] * LENGTH, "labels": [5] * LENGTH}
    batch = collate([row] * NUM_ROWS, UNLIMITED if forward == "padding_free" else None)
    supervised_loss = SupervisedLoss(model, forward)
    if precision == "bf16" and not checkpointing:
        supervised_loss.use_half_weights(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        supervised_loss(batch).backward()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        ("no", settings_of(dropout=0)),
        ("no", settings_of(dropout=0.1, method="lora")),
        ("bf16", settings_of(dropout=0.1)),
        ("no", settings_of(dropout=0.1, freeze_layers=2)),
        ("no", settings_of(dropout=0, forward="transformers")),
        ("bf16", settings_of(dropout=0.1, forward="transformers", method="lora", freeze_layers=2)),
    ],
)
def test_the_estimate_for_a_micro_batch_matches_its_tensors(
    short_pieces, settings, precision, checkpointing
):
    model, forward = model_of(settings), settings.forward
    set_activation_checkpointing(model, checkpointing)
    run = partial(micro_batch, model, forward, precision, checkpointing=checkpointing)
    run()  # the first one of a step allocates the gradients
    taken = peak_bytes(run)
    usage = memory_usage(
        model, settings, device="cpu", precision=precision, longest=LENGTH,
        checkpointing=checkpointing,
    )  # fmt: skip
    expected = usage.copies + usage.head_gradient + usage.activations(NUM_ROWS * LENGTH)
    assert expected == pytest.approx(taken, rel=MARGIN)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_estimate_for_blocks_on_cuda_matches_their_tensors(monkeypatch, checkpointing):
    """In float32 and without dropout, as on the meta device there is neither autocast nor a fused
    dropout. Attention is that of CUDA, which keeps no probabilities."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    settings, num_tokens = settings_of(dropout=0), NUM_ROWS * LENGTH
    with torch.device("meta"):
        model = model_of(settings)
        ids = torch.zeros(num_tokens, dtype=torch.int64)
        rows = RowBounds([LENGTH] * NUM_ROWS, torch.zeros(NUM_ROWS + 1, dtype=torch.int32))
    set_activation_checkpointing(model, checkpointing)

    def attend(block: int, qkv: Tensor, layer: nn.Dropout, used: Tensor | None) -> Tensor:
        attended = cuda_attention(qkv, rows, CONFIG.n_head, 0.0)
        return attended if used is None else attended.index_select(0, used)

    def forward_backward() -> None:
        drop = FastDropout(ids.device)
        hidden = GPT2.hidden_states(model.transformer, ids, ids, attend, drop, ids)
        hidden.backward(torch.empty_like(hidden))

    forward_backward()
    taken = peak_bytes(forward_backward)
    kept, recomputed = bytes_per_token(
        model, "padding_free", "cuda", 4, LENGTH, checkpointing=checkpointing
    )
    assert num_tokens * (kept + recomputed) == pytest.approx(taken, rel=MARGIN)


@pytest.mark.parametrize("optimizer", get_args(Train.model_fields["optimizer"].annotation))
def test_the_estimate_for_the_optimizer_matches_its_state(optimizer):
    settings = settings_of(optimizer=optimizer, freeze_layers=3)
    model = model_of(settings)
    stepped = build_optimizer(model, settings)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight) if weight.requires_grad else None
    stepped.step()
    taken = sum(tensor.nbytes for state in stepped.state.values() for tensor in state.values())
    usage = memory_usage(
        model, settings, device="cpu", precision="no", longest=LENGTH, checkpointing=False
    )
    assert usage.optimizer == taken
    assert usage.gradient == sum(w.nbytes for w in model.parameters() if w.requires_grad)


def test_activations_on_cuda_hold_no_attention_probabilities():
    model = model_of(settings_of(dropout=0.1))

    def per_token(device: str, longest: int) -> int:
        return sum(bytes_per_token(model, "padding_free", device, 2, longest, checkpointing=False))

    assert per_token("cuda", 1024) == per_token("cuda", 16) < per_token("cpu", 16)
    assert per_token("cpu", 1024) > per_token("cpu", 16)


ROWS = EncodedRows(
    Dataset.from_list(
        [{**row, "where": f"row {index}"} for index, row in enumerate(rows_of([40] * 12))],
        features=FEATURES,
    )
)


@pytest.fixture(scope="module")
def tiny_model():
    return model_of(settings_of(dropout=0))


@pytest.fixture
def plan(monkeypatch, tiny_model):
    """The plan of a training of 12 rows of 40 tokens with this number of free bytes."""
    accelerator = SimpleNamespace(device=torch.device("cpu"), mixed_precision="no")

    def make(free: float, num_processes: int = 1, **changes):
        monkeypatch.setattr(memory, "available_bytes", lambda device: free)
        monkeypatch.setattr(memory, "num_local_processes", lambda: num_processes)
        return plan_memory(tiny_model, settings_of(**changes), ROWS, accelerator)

    return make


def free_for(tokens: int, model: nn.Module, *, checkpointing: bool = False) -> float:
    """Free bytes of which a training with this micro-batch may take all but a byte per token."""
    usage = memory_usage(
        model, settings_of(), device="cpu", precision="no", longest=40, checkpointing=checkpointing
    )
    return (usage.overhead + usage.activations(tokens) + 1) / memory.MEMORY_FRACTION["cpu"]


def test_micro_batches_shrink_with_free_memory(plan, tiny_model):
    assert plan(10**12).limit == MicroBatchLimit(tokens=BEST_TOKENS)
    free = free_for(300, tiny_model)
    assert plan(free).limit.tokens == pytest.approx(300, abs=1)
    assert plan(free * 3, 3).limit.tokens == pytest.approx(300, abs=1)
    assert plan(0).limit == MicroBatchLimit(tokens=40), "a row is never split"


def test_checkpointing_is_enabled_before_micro_batches_shrink_to_one_row(plan, tiny_model):
    two, one = (free_for(tokens, tiny_model) for tokens in (81, 79))
    assert not plan(two).activation_checkpointing
    chosen = plan(one)
    assert chosen.activation_checkpointing
    assert chosen.limit.tokens > 80
    assert plan(0).activation_checkpointing
    assert not plan(one, activation_checkpointing=False).activation_checkpointing
    assert plan(10**12, activation_checkpointing=True).activation_checkpointing


def test_checkpointing_is_enabled_if_the_micro_batches_of_the_recipe_would_not_fit(
    plan, tiny_model
):
    four = free_for(161, tiny_model)
    assert not plan(four, micro_batch_size=4).activation_checkpointing
    assert plan(four, micro_batch_size=5).activation_checkpointing
    assert plan(four, micro_batch_size=5).limit == MicroBatchLimit(rows=5)
    assert not plan(four, micro_batch_size=5, global_batch_size=4).activation_checkpointing
    assert not plan(four, micro_batch_tokens=160).activation_checkpointing
    assert plan(four, micro_batch_tokens=200).activation_checkpointing
    assert not plan(four, micro_batch_tokens=9).activation_checkpointing


def test_the_documented_memory_table_is_computed_by_the_estimate_of_training():
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    assert memory_table.table() in text


@pytest.mark.parametrize(
    ("name", "method", "card"), [("gpt2-xl", "full", 40e9), ("gpt2-xl", "LoRA", 16e9)]
)
def test_gpt2_xl_fits_on_the_documented_cards(name, method, card):
    """With micro-batches of several rows of 1,024 tokens."""
    _, usage = memory_table.uses_of(name, method)
    memory_budget = memory.MEMORY_FRACTION["cuda"] * (card - usage.weights)
    assert usage.fitting_tokens(int(memory_budget)) >= 4 * 1024
