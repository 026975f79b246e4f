"""What can be removed from a GPT-2 so that the rest is a GPT-2 again: blocks, and neurons of MLPs.

Not single heads: transformers computes the size of a head as n_embd / n_head.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block


def set_blocks(model: GPT2LMHeadModel, blocks: Sequence[GPT2Block]) -> None:
    """See Family.set_blocks."""
    model.transformer.h = nn.ModuleList(blocks)
    model.config.n_layer = len(blocks)
    for index, block in enumerate(blocks):
        block.attn.layer_idx = index  # its place in transformers' cache


def neuron_gates(block: GPT2Block) -> Tensor:
    """See Family.neuron_gates."""
    weight = block.mlp.c_proj.weight  # (n_inner, n_embd)
    return (weight.detach() * weight.grad).sum(1)


def keep_neurons(model: GPT2LMHeadModel, kept: Sequence[Tensor]) -> None:
    """See Family.keep_neurons."""
    for block, indices in zip(model.transformer.h, kept, strict=True):
        read, write = block.mlp.c_fc, block.mlp.c_proj
        read.weight = nn.Parameter(read.weight.detach()[:, indices])
        read.bias = nn.Parameter(read.bias.detach()[indices])
        write.weight = nn.Parameter(write.weight.detach()[indices])
        read.nf = write.nx = len(indices)
    model.config.n_inner = len(kept[0])
