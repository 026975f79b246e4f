"""Models from random weights, and configs as they are saved."""

import json

import pytest
import torch
from transformers import GPT2LMHeadModel

from llmkit.config.schema import Lora, Scratch
from llmkit.model.load import EMBEDDED_MODEL, load_model, save_model, scratch_model
from llmkit.model.trainable import add_lora


@pytest.mark.parametrize("initializer_range", [0.02, 0.2])
def test_a_scratch_model_has_the_shape_and_spread_asked_for(initializer_range):
    torch.manual_seed(0)
    shape = Scratch(
        n_layer=2, n_head=2, n_embd=64, n_positions=32, vocab_size=300,
        initializer_range=initializer_range,
    )  # fmt: skip
    model, tokenizer = scratch_model(shape, [f"the ferry {n} left at noon" for n in range(99)])
    assert (model.config.n_layer, model.config.n_head, model.config.n_embd) == (2, 2, 64)
    assert model.transformer.wpe.weight.shape == (32, 64)
    assert model.transformer.wte.weight.shape == (len(tokenizer), 64)
    assert 257 < len(tokenizer) <= 300
    spread = model.transformer.wte.weight.std().item()
    assert spread == pytest.approx(initializer_range, rel=0.05)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_saved_config_has_the_sizes_that_llama_cpp_reads(tiny_gpt2, tmp_path, method):
    model, tokenizer = load_model(str(tiny_gpt2))
    if method == "lora":
        model = add_lora(model, Lora(), 0)
    save_model(model, tokenizer, tmp_path / "saved")
    for folder, n_ctx in ((tmp_path / "saved", 128), (EMBEDDED_MODEL, 256)):
        config = json.loads((folder / "config.json").read_text())
        assert config["n_ctx"] == config["n_positions"] == n_ctx
        assert {"n_embd", "n_head", "n_layer", "layer_norm_epsilon"} <= config.keys()
        assert GPT2LMHeadModel.from_pretrained(folder).config.n_positions == n_ctx
