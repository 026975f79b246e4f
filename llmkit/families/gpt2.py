"""GPT-2 (Radford et al. 2019). Only this file and gpt2_pruning.py name its classes, layers and
config keys."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, GPT2Tokenizer
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, GPT2Block

from llmkit.families.adapters import linear
from llmkit.families.compiled import Compiler, as_it_is
from llmkit.families.family import Family
from llmkit.families.gpt2_pruning import keep_neurons, neuron_gates, set_blocks
from llmkit.families.padding_free import Attention, FastDropout, checkpointed


def hidden_states(
    transformer: GPT2Model,
    input_ids: Tensor,
    position_ids: Tensor,
    attend: Attention,
    drop: FastDropout,
    used: Tensor,
    compiled: Compiler = as_it_is,
) -> Tensor:
    """The forward pass without padding; see Family.hidden_states.

    The last block needs the keys and values of all positions, but what follows them is computed at
    the positions `used` only.
    """
    embedded = transformer.wte(input_ids) + transformer.wpe(position_ids)
    x = drop.add(embedded.new_zeros(()), embedded, transformer.drop)
    last = len(transformer.h) - 1
    for index, block in enumerate(transformer.h):
        at = used if index == last else None
        run = partial(
            run_block,
            block=block,
            attend=partial(attend, index),
            drop=drop,
            used=at,
            compiled=compiled,
        )
        is_checkpointed = block.gradient_checkpointing and block.training
        x = checkpointed(run, x, drop) if is_checkpointed else run(x)
    return transformer.ln_f(x)


def run_block(
    x: Tensor,
    block: GPT2Block,
    attend: Callable[[Tensor, nn.Dropout, Tensor | None], Tensor],
    drop: FastDropout,
    used: Tensor | None,
    compiled: Compiler,
) -> Tensor:
    """One block at all positions of x (N, D), or, given `used`, at those positions of its output.

    attend: The block's attention.
    """
    qkv = compiled(queries_keys_values)(x, block)
    attended = attend(qkv, block.attn.attn_dropout, used)
    if used is not None:
        x = x.index_select(0, used)
    return compiled(after_attention)(x, attended, block, drop)


def queries_keys_values(x: Tensor, block: GPT2Block) -> Tensor:
    """(N, 3 * D): the input of a block's attention."""
    return scale_queries(linear(block.attn.c_attn, block.ln_1(x)), block.attn)


def after_attention(x: Tensor, attended: Tensor, block: GPT2Block, drop: FastDropout) -> Tensor:
    """The output of a block, given its input and the values that its attention gave, all (N, D)."""
    x = drop.add(x, linear(block.attn.c_proj, attended), block.attn.resid_dropout)
    hidden = block.mlp.act(linear(block.mlp.c_fc, block.ln_2(x)))
    return drop.add(x, linear(block.mlp.c_proj, hidden), block.mlp.dropout)


def scale_queries(qkv: Tensor, attention: GPT2Attention) -> Tensor:
    """Queries, keys and values (N, 3 * D), with the queries of a model whose config asks for
    another scale than the usual 1 / sqrt(head_dim) multiplied by the quotient of the two."""
    factor = attention.scaling * attention.head_dim**0.5
    if math.isclose(factor, 1):
        return qkv
    queries, others = qkv.split([attention.embed_dim, 2 * attention.embed_dim], 1)
    return torch.cat([queries * factor, others], 1)


def inner_size(config: GPT2Config) -> int:
    """See Family.inner_size."""
    return config.n_inner or 4 * config.n_embd


def activation_bytes(config: GPT2Config, itemsize: int, mask_itemsize: int) -> int:
    """See Family.activation_bytes."""
    inner = inner_size(config)
    residuals = 2 * 4 * config.n_embd  # the inputs of both LayerNorms, float32
    # Inputs of c_attn and c_fc; queries, keys and values; attended values.
    products = itemsize * (6 * config.n_embd + 2 * inner)  # around the MLP's activation function
    return residuals + products + 2 * mask_itemsize * config.n_embd


def unsupported_settings(config: GPT2Config) -> list[str]:
    settings = {
        "add_cross_attention": config.add_cross_attention,
        "dropout of 1": max(config.embd_pdrop, config.resid_pdrop, config.attn_pdrop) >= 1,
    }
    return [name for name, is_unsupported in settings.items() if is_unsupported]


def unusual_settings(config: GPT2Config) -> list[str]:
    """See Family.unusual_settings."""
    function = config.activation_function
    settings = {
        "scale_attn_weights=false": not config.scale_attn_weights,
        "scale_attn_by_inverse_layer_idx=true": config.scale_attn_by_inverse_layer_idx,
        f"activation_function={function}": function not in ("gelu_new", "gelu_pytorch_tanh"),
    }
    return [name for name, is_set in settings.items() if is_set]


def unsupported_model(config: Mapping[str, Any]) -> str | None:
    return "cross-attention needs an encoder" if config.get("add_cross_attention") else None


def count_weights(config: Mapping[str, Any]) -> int:
    """The weights of all matrices, without biases and LayerNorm."""
    names = ("n_layer", "n_embd", "n_positions", "vocab_size")
    sizes = [_size_in(config, name) for name in names]
    sizes.append(config.get("n_inner") or (4 * sizes[1] if isinstance(sizes[1], int) else None))
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError("sizes must be positive integers")
    n_layer, n_embd, n_positions, vocab_size, n_inner = sizes
    return (vocab_size + n_positions) * n_embd + n_layer * n_embd * (4 * n_embd + 2 * n_inner)


def _size_in(config: Mapping[str, Any], name: str) -> Any:
    """A size under its name or an alias that transformers also reads; None if the two differ."""
    aliases = [alias for alias, target in GPT2Config.attribute_map.items() if target == name]
    values = [config[key] for key in (name, *aliases) if key in config]
    values = values or [getattr(GPT2Config(), name)]
    return values[0] if all(value == values[0] for value in values) else None


def create_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[Sequence[str]], max_length: int
) -> GPT2Tokenizer:
    return GPT2Tokenizer(
        vocab=dict(vocabulary),
        merges=[tuple(merge) for merge in merges],
        model_max_length=max_length,
    )


def create(shape: Mapping[str, Any], tokenizer: GPT2Tokenizer) -> GPT2LMHeadModel:
    config = GPT2Config(
        **shape,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return GPT2LMHeadModel(config)


def fuse_gelu(model: GPT2LMHeadModel) -> None:
    """Compute the tanh approximation of GELU in one kernel instead of eight.

    The config still names the original function, so a saved model is the same.
    """
    if model.config.activation_function == "gelu_new":
        for block in model.transformer.h:
            block.mlp.act = nn.GELU(approximate="tanh")


def add_llama_cpp_keys(config: GPT2Config) -> None:
    config.n_ctx = config.n_positions  # the converter of llama.cpp reads the key's old name


def size(n_layer: int, n_head: int, n_embd: int) -> dict[str, int]:
    """A shape in the keys of the config."""
    return {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}


# Heads of 32 to 64, and about as many blocks for the width as in the published models.
SCRATCH_SIZES = [
    size(*numbers)
    for numbers in (
        (2, 2, 64), (4, 4, 128), (4, 4, 192), (6, 4, 256), (6, 6, 384), (8, 8, 512),
        (12, 10, 640), (12, 12, 768), (24, 16, 1024), (36, 20, 1280), (48, 25, 1600),
    )
]  # fmt: skip

GPT2 = Family(
    model_type="gpt2",
    title="GPT-2",
    model_class=GPT2LMHeadModel,
    tokenizer_class=GPT2Tokenizer,
    count_weights=count_weights,
    unsupported_model=unsupported_model,
    # Radford et al. 2019, table 2.
    published_sizes={
        "gpt2": size(12, 12, 768),
        "gpt2-medium": size(24, 16, 1024),
        "gpt2-large": size(36, 20, 1280),
        "gpt2-xl": size(48, 25, 1600),
    },
    scratch_sizes=SCRATCH_SIZES,
    create_tokenizer=create_tokenizer,
    create=create,
    optimize=fuse_gelu,
    embeddings=lambda model: [model.transformer.wte, model.transformer.wpe],
    blocks=lambda model: model.transformer.h,
    # The linear layers are Conv1D, whose weight is (in, out); peft expects (out, in) unless told.
    lora={"fan_in_fan_out": True, "layers_pattern": "h"},
    activation_bytes=activation_bytes,
    hidden_states=hidden_states,
    inner_size=inner_size,
    set_blocks=set_blocks,
    neuron_gates=neuron_gates,
    keep_neurons=keep_neurons,
    unsupported_settings=unsupported_settings,
    before_saving=add_llama_cpp_keys,
    norm_epsilon=lambda config: config.layer_norm_epsilon,
    unusual_settings=unusual_settings,
)
