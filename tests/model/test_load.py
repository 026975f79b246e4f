"""Models from random weights, and folders as they are saved."""

import pytest
import torch

from llmkit.config.schema import Scratch
from llmkit.model.load import load_model, save_model, scratch_model


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


def test_a_saved_model_has_the_permissions_of_other_new_files(tiny_gpt2, tmp_path):
    save_model(*load_model(str(tiny_gpt2)), tmp_path / "model")
    (tmp_path / "other").touch()
    permissions = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert permissions == {(tmp_path / "other").stat().st_mode}
