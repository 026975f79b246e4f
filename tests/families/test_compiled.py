"""Compiled parts of the forward pass: the same numbers, and few compilations.

The backend is aot_eager, which traces and differentiates as the one for GPUs does but generates no
code.
"""

from collections.abc import Iterator

import pytest
import torch
from forward_cases import SHORT_CASES as CASES
from forward_cases import small_model, trained_model
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from llmkit.data.batches import UNLIMITED, collate
from llmkit.errors import UserError
from llmkit.families import compiled
from llmkit.families.compiled import CompiledParts, require_compiler
from llmkit.families.gpt2 import fuse_gelu
from llmkit.families.padding_free import FastDropout
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import set_activation_checkpointing, set_dropout

PARTS = 2  # before and after the attention of a block


@pytest.fixture
def counter() -> Iterator[CompileCounterWithBackend]:
    torch._dynamo.reset()
    yield CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()


def loss_and_gradients(loss: SupervisedLoss, case: str) -> tuple[Tensor, dict[str, Tensor]]:
    loss.zero_grad()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=loss.half_weights is not None):
        if loss.half_weights is not None:
            loss.half_weights.refresh()
        total = loss(collate(CASES[case], UNLIMITED))
    total.backward()
    gradients = {name: p.grad.clone() for name, p in loss.named_parameters() if p.grad is not None}
    return total.detach(), gradients


def assert_same_numbers(model: nn.Module, counter, cases: list[str], *, half: bool) -> None:
    plain, parts = SupervisedLoss(model, "padding_free"), SupervisedLoss(model, "padding_free")
    parts.compiled = CompiledParts(counter)
    if half:
        plain.use_half_weights(torch.bfloat16)
        parts.use_half_weights(torch.bfloat16)
    for case in cases:
        expected, found = loss_and_gradients(plain, case), loss_and_gradients(parts, case)
        tolerance = 2e-2 if half else 1e-5
        torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0)
        assert found[1].keys() == expected[1].keys()
        for name, gradient in expected[1].items():
            assert (found[1][name] - gradient).norm() <= tolerance * gradient.norm() + 1e-9, name


@pytest.mark.parametrize("half", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_one_compilation_serves_all_blocks_and_numbers_of_tokens(counter, half):
    model = small_model()
    fuse_gelu(model)
    assert_same_numbers(
        model, counter, ["ragged", "equal rows", "one row", "all labels"], half=half
    )
    assert counter.frame_count == PARTS


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["lora", "frozen"])
def test_adapters_and_frozen_blocks_compile_without_a_compilation_for_each_shape(counter, trained):
    model = trained_model(trained)
    assert_same_numbers(model, counter, ["ragged", "equal rows"], half=True)
    compilations = counter.frame_count
    assert_same_numbers(model, counter, ["one row", "all labels"], half=True)
    assert counter.frame_count == compilations


@pytest.mark.slow
def test_blocks_that_are_computed_again_are_compiled_too(counter):
    model = small_model()
    set_activation_checkpointing(model, True)
    assert_same_numbers(model, counter, ["ragged", "equal rows"], half=False)
    assert counter.frame_count >= PARTS


@pytest.mark.slow
def test_a_part_without_tokens_is_not_compiled(counter):
    assert_same_numbers(small_model(), counter, ["no label at all"], half=False)


@pytest.mark.slow
def test_dropout_of_compiled_parts_follows_the_seed(counter, monkeypatch):
    monkeypatch.setattr(FastDropout, "mask", None)  # the CPU's own, which NumPy draws
    init = FastDropout.__init__
    monkeypatch.setattr(FastDropout, "__init__", lambda self, _: init(self, torch.device("cuda")))
    model = small_model()
    set_dropout(model, 0.2)
    for block in model.transformer.h:
        block.attn.attn_dropout.p = 0.0
    loss = SupervisedLoss(model, "padding_free")
    loss.compiled = CompiledParts(counter)
    once, again = (loss_and_gradients(loss, "ragged")[0] for _ in range(2))
    assert once == again
    set_dropout(model, 0.0)
    assert loss_and_gradients(loss, "ragged")[0] != once


def test_a_machine_without_triton_is_told_so(monkeypatch):
    monkeypatch.setattr(compiled, "has_triton", lambda: False)
    with pytest.raises(UserError, match=r"train\.compile: .* needs Triton"):
        require_compiler()
    monkeypatch.setattr(compiled, "has_triton", lambda: True)
    require_compiler()
