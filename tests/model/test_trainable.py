"""The trainable weights; nothing else of a model changes."""

import pytest
import torch
from forward_cases import rows_of, trained_model
from torch import Tensor, nn

from llmkit.config.schema import Lora, Train
from llmkit.data.batches import UNLIMITED, collate
from llmkit.errors import UserError
from llmkit.families import GPT2
from llmkit.model.load import load_model, save_model
from llmkit.model.loss import SupervisedLoss, unwrap_model
from llmkit.model.trainable import (
    add_lora,
    set_activation_checkpointing,
    set_dropout,
    trainable_model,
)


@pytest.mark.parametrize("target", ["c_attn", "c_proj", "c_fc"])
def test_lora_reaches_each_layer_of_gpt2_and_merges_exactly(target, tiny_gpt2, tmp_path):
    base, tokenizer = load_model(str(tiny_gpt2))
    ids = torch.arange(30)[None]
    before = base(ids).logits.detach()
    model = add_lora(base, Lora(target_modules=[target], r=2), freeze_layers=0)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_" in name and f".{target}." in name for name in trainable)
    torch.testing.assert_close(model(ids).logits, before)  # a new adapter changes nothing
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.eval()
    save_model(model, tokenizer, tmp_path / "merged")
    merged, _ = load_model(str(tmp_path / "merged"))
    torch.testing.assert_close(merged.eval()(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    assert (merged(ids).logits - before).abs().max() > 1e-3


def test_the_dropout_of_the_recipe_is_set_in_all_layers(tiny_gpt2):
    model, _ = load_model(str(tiny_gpt2))
    trainable_model(model, Train(max_steps=1, dropout=0.3))
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_making_a_model_trainable_changes_no_output(tiny_gpt2, method):
    model, tokenizer = load_model(str(tiny_gpt2))
    ids = torch.tensor([tokenizer("The ferry left.")["input_ids"]])
    before = model.eval()(ids).logits
    trainable = trainable_model(model, Train(max_steps=1, method=method)).eval()
    after = trainable(ids).logits
    assert after.shape == before.shape, "the vocabulary stays as it is"
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("num_frozen", [0, 1])
def test_frozen_blocks_and_embeddings_have_no_trainable_weight(tiny_gpt2, method, num_frozen):
    model, _ = load_model(str(tiny_gpt2))
    trainable = trainable_model(model, Train(max_steps=1, method=method, freeze_layers=num_frozen))
    names = {name for name, p in trainable.named_parameters() if p.requires_grad}
    assert any(".h.1." in name for name in names)
    assert any(".h.0." in name for name in names) == (num_frozen == 0)
    assert any("wte" in name for name in names) == (num_frozen == 0 and method == "full")


@pytest.mark.parametrize(("method", "most"), [("full", 2), ("lora", 1)])
def test_freezing_all_that_could_be_trained_is_refused(tiny_gpt2, method, most):
    """Of two blocks, adapters need one; full training can still train the last norm."""
    settings = Train(max_steps=1, method=method, freeze_layers=most)
    assert trainable_model(load_model(str(tiny_gpt2))[0], settings)
    settings = Train(max_steps=1, method=method, freeze_layers=most + 1)
    with pytest.raises(UserError, match="leaves nothing to train; the model has 2 blocks"):
        trainable_model(load_model(str(tiny_gpt2))[0], settings)


ROWS = rows_of([7, 20, 3, 2, 19, 60])
CAPACITIES = {"padding_free": UNLIMITED, "transformers": None, "transformers, packed": 64}


def step(model: nn.Module, forward: str, precision: torch.dtype) -> tuple[Tensor, dict]:
    """Loss and gradients of two micro-batches."""
    model.zero_grad()
    torch.manual_seed(5)
    loss_module, losses = SupervisedLoss(model, forward.partition(",")[0]), []
    for rows in (ROWS[:3], ROWS[3:]):
        batch = collate(rows, CAPACITIES[forward])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            losses.append(loss_module(batch))
        losses[-1].backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return torch.stack(losses).detach(), gradients


@pytest.mark.parametrize(
    ("dropout", "precision"), [(0.0, torch.float32), (0.2, torch.float32), (0.2, torch.bfloat16)]
)
@pytest.mark.parametrize("trained", ["full", "lora", "frozen", "lora dropout"])
@pytest.mark.parametrize("forward", CAPACITIES)
def test_activation_checkpointing_changes_no_bit_of_loss_and_gradients(
    forward, trained, dropout, precision
):
    model = trained_model("full" if trained == "lora dropout" else trained)
    set_dropout(model, dropout)
    if trained == "lora dropout":
        model = add_lora(model, Lora(r=4, lora_dropout=0.3), 0).train()
    expected, gradients = step(model, forward, precision)
    calls = []
    block = GPT2.blocks(unwrap_model(model))[-1]
    block.ln_1.register_forward_hook(lambda *_: calls.append(1))
    set_activation_checkpointing(model, True)
    loss, found = step(model, forward, precision)
    assert len(calls) == 4, "each of the two forward passes of the block is repeated"
    assert torch.equal(loss, expected)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(found[name], gradient), name
    set_activation_checkpointing(model, False)
    assert torch.equal(step(model, forward, precision)[0], expected)
    assert len(calls) == 6


@pytest.mark.parametrize("forward", CAPACITIES)
def test_checkpointed_blocks_that_are_frozen_are_not_computed_again(forward):
    model = trained_model("frozen")
    calls = []
    GPT2.blocks(model)[0].ln_1.register_forward_hook(lambda *_: calls.append(1))
    set_activation_checkpointing(model, True)
    step(model, forward, torch.float32)
    assert len(calls) == 2, "one per micro-batch"


def test_evaluation_does_not_checkpoint():
    model = trained_model("full")
    set_activation_checkpointing(model, True)
    expected = SupervisedLoss(model, "padding_free")(collate(ROWS, UNLIMITED))
    with torch.inference_mode():
        model.eval()
        nats = SupervisedLoss(model, "padding_free").token_losses(collate(ROWS, UNLIMITED))
    torch.testing.assert_close(nats.sum(), expected.detach())
