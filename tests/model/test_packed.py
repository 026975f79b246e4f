"""Packed linear layers compute what the model's own layers compute, and leave no trace."""

import copy

import pytest
import torch

from llmkit.config.schema import Lora
from llmkit.model import packed as module
from llmkit.model.load import load_model
from llmkit.model.packed import (
    generation_dtype,
    packed_linear_layers,
    unpacked_linear_layers,
)
from llmkit.model.trainable import add_lora

pytestmark = pytest.mark.usefixtures("pack_small_models")
IDS = torch.arange(5, 45).view(2, 20)


@pytest.fixture
def pack_small_models(monkeypatch):
    monkeypatch.setattr(module, "MIN_BYTES", 0)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_packed_layers_compute_the_same_function_and_restore_the_model(tiny_gpt2, method):
    model, _ = load_model(str(tiny_gpt2))
    if method == "lora":
        model = add_lora(model, Lora(), 0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # zero at first, which would hide the adapter
                torch.nn.init.normal_(weight, std=0.5)
    model.eval()
    layers = {name: vars(layer).copy() for name, layer in model.named_modules()}
    with torch.inference_mode():
        expected = model(IDS).logits
        with packed_linear_layers(model, torch.float32):
            assert "forward" in vars(model.get_output_embeddings())
            torch.testing.assert_close(model(IDS).logits, expected)
            with unpacked_linear_layers(model):
                assert torch.equal(model(IDS).logits, expected)
            assert "forward" in vars(model.get_output_embeddings())
    assert {name: vars(layer) for name, layer in model.named_modules()} == layers


def test_layers_are_restored_after_an_error(tiny_gpt2):
    model, _ = load_model(str(tiny_gpt2))
    with pytest.raises(KeyError), packed_linear_layers(model, torch.float32):
        raise KeyError
    assert not any("forward" in vars(layer) for layer in model.modules())
    copy.deepcopy(model)  # as the best weights are kept


def test_layers_stay_as_they_are_where_packing_is_impossible(tiny_gpt2, monkeypatch):
    model, _ = load_model(str(tiny_gpt2))

    def is_packed(dtype=torch.float32, **settings):
        with packed_linear_layers(model, dtype, **settings):
            return "forward" in vars(model.lm_head)

    assert is_packed()
    assert not is_packed(enabled=False)
    assert not is_packed(torch.float16)
    monkeypatch.setattr(module, "available_bytes", lambda device: 1000)
    assert not is_packed(), "too little memory"
    monkeypatch.undo()
    assert not is_packed(), "too small a model"


def test_generation_runs_in_the_dtype_of_autocast(tiny_gpt2):
    model, _ = load_model(str(tiny_gpt2))
    assert generation_dtype(model) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert generation_dtype(model) == torch.bfloat16
