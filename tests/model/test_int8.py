"""int8 weights: rounding, products, and the folder that holds them."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from llmkit.errors import UserError
from llmkit.model import int8 as module
from llmkit.model.int8 import (
    WEIGHTS_FILE,
    Int8Embedding,
    Int8Linear,
    Int8Matrix,
    is_int8,
    save_int8,
)
from llmkit.model.load import load_model

IDS = torch.arange(5, 45).view(2, 20)


@pytest.fixture(scope="module")
def folder(tiny_gpt2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    save_int8(*load_model(str(tiny_gpt2)), folder)
    return folder


@pytest.fixture
def in_integers(monkeypatch):
    monkeypatch.setattr(module, "MIN_WEIGHTS", 0)


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm().clamp_min(1e-9)).item()


def test_a_weight_is_rounded_to_the_nearest_multiple_of_the_scale_of_its_output():
    weight = torch.randn(5, 64, generator=torch.manual_seed(0)) * torch.tensor(
        [[1e-3], [1], [100], [1e-30], [0]]
    )
    matrix = Int8Matrix.of(weight)
    assert matrix.int8.dtype == torch.int8
    assert matrix.int8.abs().amax(1).tolist() == [127, 127, 127, 127, 0]
    error = (matrix.dequantized() - weight).abs().amax(1)
    assert (error <= 0.5001 * weight.abs().amax(1) / 127).all()


@pytest.mark.parametrize("shift", [0, 30], ids=["centered", "far from 0"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_that_of_the_dequantized_weight_up_to_rounding_of_the_input(shift, has_bias):
    torch.manual_seed(0)
    weight, x = torch.randn(48, 64), torch.randn(3, 7, 64) + shift
    x[0, 0], x[0, 1] = 2.5, 0  # constant rows
    bias = torch.randn(48) if has_bias else None
    layer = Int8Linear(Int8Matrix.of(weight), bias)
    found, expected = layer(x), nn.functional.linear(x, layer.weight, bias)
    assert found.shape == expected.shape
    step = (x.amax(-1) - x.amin(-1)) / 127  # of the quantized input
    bound = step / 2 * layer.weight.abs().sum(1).max() + 1e-3
    assert ((found - expected).abs().amax(-1) <= bound).all()
    assert relative_error(found, expected) < 0.03
    torch.testing.assert_close(found[0, :2], expected[0, :2], rtol=1e-4, atol=1e-3)


def test_an_output_does_not_depend_on_the_other_rows():
    torch.manual_seed(0)
    layer = Int8Linear(Int8Matrix.of(torch.randn(48, 64)), torch.randn(48))
    x = torch.randn(9, 64) * torch.logspace(-3, 3, 9)[:, None]
    assert torch.equal(torch.cat([layer(row[None]) for row in x]), layer(x))


def test_numbers_that_are_not_finite_are_not_hidden():
    layer = Int8Linear(Int8Matrix.of(torch.eye(4)), None)
    x = torch.ones(2, 4)
    x[0, 1] = torch.nan
    assert layer(x)[0].isnan().any()


def test_a_folder_holds_the_integers_and_opens_like_any_model(folder, tiny_gpt2):
    assert is_int8(folder)
    assert not is_int8(tiny_gpt2)
    model, tokenizer = load_model(folder)
    original, original_tokenizer = load_model(tiny_gpt2)
    assert tokenizer.get_vocab() == original_tokenizer.get_vocab()
    stored = load_file(folder / WEIGHTS_FILE)
    assert stored["transformer.wte.weight"].dtype == torch.int8
    assert "lm_head.weight" not in stored  # shares the matrix of the embedding
    for name, weight in original.state_dict().items():
        assert relative_error(model.state_dict()[name], weight) < 0.01, name
    assert model.lm_head.weight is model.transformer.wte.weight
    with torch.inference_mode():
        assert relative_error(model(IDS).logits, original(IDS).logits) < 0.05


def test_large_layers_compute_in_integers(folder, tiny_gpt2, in_integers):
    model, _ = load_model(folder)
    kinds = {type(each) for each in model.modules()}
    assert {Int8Linear, Int8Embedding} <= kinds
    assert nn.Linear not in kinds
    with torch.inference_mode():
        found, expected = model(IDS).logits, load_model(tiny_gpt2)[0](IDS).logits
    assert relative_error(found, expected) < 0.1


def test_damaged_folders_are_refused(folder, tmp_path):
    def damaged(change):
        copied = shutil.copytree(folder, tmp_path / "copied", dirs_exist_ok=True)
        tensors = load_file(copied / WEIGHTS_FILE)
        change(tensors)
        save_file(tensors, copied / WEIGHTS_FILE)
        with pytest.raises(UserError) as error:
            load_model(copied)
        return str(error.value)

    name = "transformer.h.0.mlp.c_fc.weight"
    assert "lack transformer.h.0.mlp.c_fc.weight" in damaged(lambda t: t.pop(f"{name}_scale"))
    assert "lack transformer.ln_f.bias" in damaged(lambda t: t.pop("transformer.ln_f.bias"))
    assert "another shape" in damaged(lambda t: t.update({name: t[name][:-1].clone()}))
    assert "finite" in damaged(lambda t: t[f"{name}_scale"].fill_(torch.nan))
    (tmp_path / "copied" / WEIGHTS_FILE).write_bytes(b"cut short")
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path / "copied")


def test_transformers_refuses_the_folder(folder):
    from transformers import AutoModelForCausalLM

    assert json.loads((folder / "config.json").read_text())["model_type"] == "gpt2"
    with pytest.raises(OSError, match="no file named"):
        AutoModelForCausalLM.from_pretrained(folder)
