"""The record of what llmkit needs to know about a family of decoder-only models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Family:
    """A family of decoder-only models: everything that differs between families.

    What transformers gives all of them a common name for needs no field here: `model.base_model`
    (the model without its head), `model.get_input_embeddings()`, `model.get_output_embeddings()`,
    and `hidden_size`, `num_hidden_layers`, `num_attention_heads` and `max_position_embeddings` of
    the config.
    """

    model_type: str
    """The family's name in config.json."""
    title: str
    """The family's name for people."""
    model_class: type[PreTrainedModel]
    """The model with its language modelling head."""
    tokenizer_class: type[PreTrainedTokenizerBase]
    """Reads a folder that has no tokenizer.json."""
    count_weights: Callable[[Mapping[str, Any]], int]
    """About how many weights a config.json asks for, rather too few; ValueError if its sizes are
    missing or invalid. Decides, before any memory is allocated, whether to load a model."""
    unsupported_model: Callable[[Mapping[str, Any]], str | None]
    """Returns why llmkit cannot train the model of a config.json; None if it can."""
    published_sizes: Mapping[str, Mapping[str, int]]
    """The shape of each published model under its hub id, in the config's own keys, by size."""
    scratch_sizes: Sequence[Mapping[str, int]]
    """Shapes that suit a training from random weights, by size."""
    create_tokenizer: Callable[
        [Mapping[str, int], Sequence[Sequence[str]], int], PreTrainedTokenizerBase
    ]
    """Creates a tokenizer from the vocabulary and merges of a byte-level BPE and the maximum length
    of a sequence in tokens."""
    create: Callable[[Mapping[str, Any], PreTrainedTokenizerBase], PreTrainedModel]
    """Creates a model with random weights from the shape, under the config's own keys, for a
    tokenizer."""
    optimize: Callable[[PreTrainedModel], None]
    """Replaces layers, in place, by faster ones that compute the same function."""
    embeddings: Callable[[PreTrainedModel], list[nn.Module]]
    """The layers below the first block; frozen together with the lowest blocks."""
    blocks: Callable[[PreTrainedModel], nn.ModuleList]
    """The transformer blocks, the lowest first."""
    lora: Mapping[str, Any]
    """Settings of peft's LoraConfig that the family's layers require."""
    activation_bytes: Callable[[PreTrainedConfig, int, int], int]
    """Bytes that a block keeps per token for the backward pass, without attention's own: (config,
    bytes of a number in the precision of the products, bytes of an element of a dropout mask)."""
    hidden_states: Callable[..., Tensor]
    """Forward pass without padding: (base model, input_ids (N,), position_ids (N,), attention,
    dropout, used (num_used,), compiler of its parts) -> hidden states (num_used, hidden_size) at
    the positions `used` of rows that are concatenated."""
    inner_size: Callable[[PreTrainedConfig], int]
    """Width of the hidden layer of a block's MLP."""
    set_blocks: Callable[[PreTrainedModel, Sequence[nn.Module]], None]
    """Gives the model other blocks: some of its own, in their order."""
    neuron_gates: Callable[[nn.Module], Tensor]
    """The derivative of the loss with respect to a factor of each neuron of a block's MLP (inner,),
    after a backward pass: with the opposite sign, the first-order change without the neuron."""
    keep_neurons: Callable[[PreTrainedModel, Sequence[Tensor]], None]
    """Removes all neurons of the MLPs but those whose indices are given for each block, as many for
    all of them."""
    unsupported_settings: Callable[[PreTrainedConfig], list[str]]
    """Settings of the config that `hidden_states` does not support."""
    before_saving: Callable[[PreTrainedConfig], None]
    """Adds keys to the config that other programs read."""
    norm_epsilon: Callable[[PreTrainedConfig], float]
    """What LayerNorm adds to the variance."""
    unusual_settings: Callable[[PreTrainedConfig], list[str]]
    """Settings of the config with which the model computes another function than the published
    models of the family, the only one that other programs know."""
