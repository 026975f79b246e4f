"""A GPT-2 without blocks or neurons computes what the whole one computes without them."""

import pytest
import torch

from llmkit.families import GPT2
from llmkit.model.load import load_model

IDS = torch.arange(5, 45).view(2, 20)


def open_model(folder):
    model, _ = load_model(folder)
    torch.manual_seed(0)
    for weight in model.parameters():  # biases are 0 in a new model
        torch.nn.init.normal_(weight, std=0.3)
    return model


def test_a_removed_block_adds_nothing(tiny_gpt2):
    model = open_model(tiny_gpt2)
    first, second = GPT2.blocks(model)
    with torch.inference_mode():
        for block, other in ((first, second), (second, first)):
            states = model.transformer.drop(
                model.transformer.wte(IDS) + model.transformer.wpe(torch.arange(20))
            )
            expected = model.lm_head(model.transformer.ln_f(other(states)))
            GPT2.set_blocks(model, [other])
            torch.testing.assert_close(model(IDS).logits, expected)
            assert model.config.num_hidden_layers == 1
            cached = model(IDS[:, :10], use_cache=True).past_key_values
            continued = model(IDS[:, 10:], past_key_values=cached).logits
            torch.testing.assert_close(continued, expected[:, 10:])
            GPT2.set_blocks(model, [first, second])
            assert block in GPT2.blocks(model)


def test_removed_neurons_are_those_whose_output_counts_as_zero(tiny_gpt2):
    model = open_model(tiny_gpt2)
    kept = [torch.arange(0, 128, 2), torch.arange(64)]
    expected = open_model(tiny_gpt2)
    with torch.inference_mode():
        for block, indices in zip(GPT2.blocks(expected), kept, strict=True):
            is_removed = torch.ones(128, dtype=torch.bool)
            is_removed[indices] = False
            block.mlp.c_proj.weight[is_removed] = 0
    GPT2.keep_neurons(model, kept)
    assert GPT2.inner_size(model.config) == 64
    with torch.inference_mode():
        torch.testing.assert_close(model(IDS).logits, expected(IDS).logits)


def test_a_gate_is_the_derivative_for_a_factor_of_the_neuron(tiny_gpt2):
    model = open_model(tiny_gpt2).double()
    block, index, step = GPT2.blocks(model)[0], 17, 1e-5

    def loss():
        return -model(IDS).logits.log_softmax(-1)[..., 7].sum()

    loss().backward()
    gate = GPT2.neuron_gates(block)
    assert gate.shape == (128,)
    row = block.mlp.c_proj.weight.data[index]
    original = row.clone()
    losses = []
    for factor in (1 + step, 1 - step):
        row.copy_(original * factor)
        losses.append(loss().item())
    assert gate[index].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-4)
