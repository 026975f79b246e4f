"""Weights in half precision: the same losses and gradients as with autocast's own copies."""

import pytest
import torch
from forward_cases import SHORT_CASES as CASES
from forward_cases import small_model, trained_model
from torch import Tensor, nn

from llmkit.config.schema import Lora
from llmkit.data.batches import UNLIMITED, Batch, collate
from llmkit.model.half_weights import padded
from llmkit.model.loss import SumCrossEntropy, SupervisedLoss, unwrap_model
from llmkit.model.trainable import add_lora, set_activation_checkpointing


def with_half_weights(loss: SupervisedLoss) -> SupervisedLoss:
    loss.use_half_weights(torch.bfloat16)
    return loss


def loss_and_gradients(loss: SupervisedLoss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    loss.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        total = loss(batch)
    total.backward()
    gradients = {name: p.grad.clone() for name, p in loss.named_parameters() if p.grad is not None}
    return total.detach(), gradients


def assert_equal(found: tuple, expected: tuple) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("forward", ["padding_free", "transformers"])
@pytest.mark.parametrize("trained", ["full", "lora", "frozen"])
@pytest.mark.parametrize("case", ["ragged", "no label at all"])
def test_losses_and_gradients_are_those_of_autocast(trained, case, forward):
    model = trained_model(trained)
    batch = collate(CASES[case], UNLIMITED if forward == "padding_free" else None)
    expected = loss_and_gradients(SupervisedLoss(model, forward), batch)
    loss = with_half_weights(SupervisedLoss(model, forward))
    assert_equal(loss_and_gradients(loss, batch), expected)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.01 * torch.randn_like(weight)
    loss.half_weights.refresh()
    found = loss_and_gradients(loss, batch)
    assert_equal(found, loss_and_gradients(SupervisedLoss(model, forward), batch))
    assert case == "no label at all" or found[0] != expected[0]


@pytest.mark.parametrize("trained", ["full", "lora"])
def test_losses_and_gradients_are_the_same_if_blocks_are_computed_again(trained):
    model = trained_model(trained)
    batch = collate(CASES["ragged"], UNLIMITED)
    loss = with_half_weights(SupervisedLoss(model, "padding_free"))
    expected = loss_and_gradients(loss, batch)
    set_activation_checkpointing(model, True)
    assert_equal(loss_and_gradients(loss, batch), expected)


def test_the_dropout_of_adapters_draws_the_same_masks():
    model = add_lora(small_model(), Lora(lora_dropout=0.5), 0)
    batch = collate(CASES["equal rows"], UNLIMITED)
    results = []
    for loss in (SupervisedLoss(model, "padding_free"),
                 with_half_weights(SupervisedLoss(model, "padding_free"))):  # fmt: skip
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.05)
        if loss.half_weights:
            loss.half_weights.refresh()
        results.append(loss_and_gradients(loss, batch))
    assert_equal(results[1], results[0])


def test_gradients_add_up_over_micro_batches():
    model = trained_model("full")
    batches = [collate(CASES[case], UNLIMITED) for case in ("ragged", "equal rows")]
    sums = []
    for loss in (SupervisedLoss(model, "padding_free"),
                 with_half_weights(SupervisedLoss(model, "padding_free"))):  # fmt: skip
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            for batch in batches:
                loss(batch).backward()
        sums.append([weight.grad.clone() for weight in model.parameters()])
    assert_equal(sums[1], sums[0])


def test_the_model_has_its_own_weights_outside_of_the_loss():
    model = trained_model("lora")
    before = dict(model.named_parameters())
    loss = with_half_weights(SupervisedLoss(model, "padding_free"))
    layer = unwrap_model(model).transformer.h[1].attn.c_attn.base_layer
    with loss.half_weights.in_use():
        assert layer.weight.dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32
    with pytest.raises(KeyError), loss.half_weights.in_use():
        raise KeyError
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert loss.state_dict().keys() == SupervisedLoss(model, "padding_free").state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_rows_beyond_the_vocabulary_change_neither_loss_nor_gradients(dtype):
    torch.manual_seed(0)
    hidden = torch.randn(70, 8, dtype=dtype, requires_grad=True)
    weight = nn.Parameter(torch.randn(101, 8, dtype=dtype))
    targets = torch.randint(101, (70,))
    found = []
    for copy in (weight.detach(), padded(weight.detach())):
        loss = SumCrossEntropy.apply(hidden, weight, targets, copy)
        found.append((loss.detach(), *torch.autograd.grad(loss, (hidden, weight))))
    assert len(copy) == 128
    assert found[1][2].shape == weight.shape
    tolerance = {torch.bfloat16: 1e-2, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(found[1], found[0], rtol=tolerance, atol=tolerance)
