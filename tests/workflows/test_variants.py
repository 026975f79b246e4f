"""Variants of a model: what counts as a weight, and which prompts are timed."""

import torch
from safetensors.torch import load_file

from llmkit.model.int8 import WEIGHTS_FILE, save_int8
from llmkit.model.load import load_model
from llmkit.workflows.variants import num_weights, weight_bytes


def test_weights_that_are_not_zero_are_counted_once(tiny_gpt2):
    model, _ = load_model(tiny_gpt2)
    stored = load_file(tiny_gpt2 / "model.safetensors")
    assert "lm_head.weight" not in stored  # the matrix of the embedding
    assert num_weights(model) == sum(int(each.count_nonzero()) for each in stored.values())
    before = num_weights(model)
    with torch.no_grad():
        model.get_output_embeddings().weight[:10] = 0
    assert num_weights(model) == before - 10 * 32


def test_only_weight_files_have_a_size(tiny_gpt2, tmp_path):
    assert weight_bytes(tiny_gpt2) == (tiny_gpt2 / "model.safetensors").stat().st_size
    save_int8(*load_model(tiny_gpt2), tmp_path)
    assert weight_bytes(tmp_path) == (tmp_path / WEIGHTS_FILE).stat().st_size
