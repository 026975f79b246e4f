"""llmkit's knowledge of GPT-2 against the models that transformers builds."""

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.config.schema import Lora, Scratch
from llmkit.errors import UserError
from llmkit.families import GPT2
from llmkit.families.padding_free import FastDropout, RowBounds, attention_within_rows
from llmkit.model.load import EMBEDDED_MODEL, check_padding_free, load_model, save_model
from llmkit.model.trainable import add_lora

SHAPES = [
    {},
    {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 64, "vocab_size": 300},
    {"n_layer": 1, "n_head": 1, "n_embd": 8, "n_inner": 20, "vocab_size": 50},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_weights_of_a_config_are_counted_without_building_the_model(shape):
    config = GPT2Config(**shape)
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() > 1)
    assert GPT2.count_weights(config.to_dict()) == matrices
    assert GPT2.count_weights(shape) == matrices, "what a config leaves out is at its default"


@pytest.mark.parametrize(
    "config", [{"n_layer": 0}, {"n_embd": "64"}, {"n_head": 2, "n_embd": 2, "hidden_size": 3}]
)
def test_invalid_sizes_in_a_gpt2_config_are_an_error(config):
    with pytest.raises(ValueError, match="sizes"):
        GPT2.count_weights(config)


def test_the_fused_gelu_computes_the_function_of_the_config():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SHAPES[1])).double().eval()
    ids = torch.arange(20)[None]
    expected = model(ids).logits
    GPT2.optimize(model)
    assert type(GPT2.blocks(model)[0].mlp.act) is torch.nn.GELU
    torch.testing.assert_close(model(ids).logits, expected)
    assert model.config.activation_function == "gelu_new"


def test_embeddings_and_blocks_hold_all_weights_but_the_last_norm():
    model = GPT2LMHeadModel(GPT2Config(**SHAPES[1]))
    layers = [*GPT2.embeddings(model), *GPT2.blocks(model)]
    covered = {id(weight) for layer in layers for weight in layer.parameters()}
    rest = [name for name, weight in model.named_parameters() if id(weight) not in covered]
    assert rest == ["transformer.ln_f.weight", "transformer.ln_f.bias"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"add_cross_attention": True}, "add_cross_attention"), ({"attn_pdrop": 1.0}, "dropout of 1")],
)
def test_gpt2_variants_that_padding_free_does_not_support_are_refused(changed, named):
    with pytest.raises(UserError, match=f"{named}; set train"):
        check_padding_free(GPT2Config(**changed))
    check_padding_free(GPT2Config())


@pytest.mark.parametrize(
    "scale",
    [
        {},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    ],
)
def test_the_forward_pass_without_padding_scales_attention_as_the_config_says(scale):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**(SHAPES[1] | {"n_layer": 3}), **scale)).double().eval()
    ids, lengths = torch.arange(12), [5, 7]
    position_ids = torch.cat([torch.arange(length) for length in lengths])
    drop = FastDropout(torch.device("cpu"))
    rows = RowBounds(lengths, torch.tensor([0, 5, 12], dtype=torch.int32))
    attend = attention_within_rows(rows, model.config.n_head, drop)
    states = GPT2.hidden_states(
        model.transformer, ids, position_ids, attend, drop, torch.arange(12)
    )
    rows = [model.transformer(row[None]).last_hidden_state[0] for row in ids.split(lengths)]
    torch.testing.assert_close(states, torch.cat(rows))


def test_a_created_gpt2_has_the_shape_asked_for(tiny_gpt2):
    shape = Scratch(n_layer=1, n_head=1, n_embd=8, n_positions=16).model_dump(
        exclude={"vocab_size", "tokenizer"}
    )
    tokenizer = load_model(str(tiny_gpt2))[1]
    config = GPT2.create(shape, tokenizer).config
    assert {key: getattr(config, key) for key in shape} == shape
    assert config.vocab_size == len(tokenizer)
    assert config.eos_token_id == tokenizer.eos_token_id


def test_a_created_tokenizer_merges_as_it_was_trained():
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    tokenizer = GPT2.create_tokenizer(vocabulary, [["a", "b"]], 16)
    assert tokenizer("abab").input_ids == [3, 3]
    assert (tokenizer.model_max_length, tokenizer.eos_token_id) == (16, 0)


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
