"""The trainable weights; nothing else of a model changes."""

import pytest
import torch

from llmkit.config.schema import Lora, Train
from llmkit.errors import UserError
from llmkit.model.load import load_model, save_model
from llmkit.model.trainable import add_lora, trainable_model


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
