"""The fast forward pass: all rows of a batch end to end in one sequence, without padding.

The linear layers see one matrix of all tokens, attention goes from row to row, and behind the last
block's keys and values only those positions go on whose output is used. Weights, adapters and
layers are those of the Hugging Face model, whose own forward pass is the reference.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from llmkit.errors import UserError

QUERIES = 256  # queries of a long row that are handled together: what is behind them is not read


def check_config(config: GPT2Config) -> None:
    """Raise UserError for variants of GPT-2 that this forward pass does not know."""
    unknown = {
        "scale_attn_weights": not config.scale_attn_weights,
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
        "add_cross_attention": config.add_cross_attention,
    }
    if any(unknown.values()):
        names = ", ".join(name for name, is_set in unknown.items() if is_set)
        raise UserError(
            f"train.engine: fast does not know this model's {names}; set train.engine=reference"
        )


def hidden_states(
    transformer: GPT2Model,
    input_ids: Tensor,
    position_ids: Tensor,
    lengths: list[int],
    used: Tensor,
) -> Tensor:
    """Hidden states (num_used, n_embd) at the positions `used` of rows laid end to end.

    input_ids, position_ids: (N,). lengths: tokens of each row, N together.
    """
    drop = Dropper(input_ids.device)
    embedded = transformer.wte(input_ids) + transformer.wpe(position_ids)
    x = drop.add(embedded.new_zeros(()), embedded, transformer.drop)
    last = len(transformer.h) - 1
    for index, block in enumerate(transformer.h):
        attended = attend(block.attn.c_attn(block.ln_1(x)), lengths, block, drop)
        if index == last:
            x, attended = x.index_select(0, used), attended.index_select(0, used)
        x = drop.add(x, block.attn.c_proj(attended), block.attn.resid_dropout)
        hidden = block.mlp.act(block.mlp.c_fc(block.ln_2(x)))
        x = drop.add(x, block.mlp.c_proj(hidden), block.mlp.dropout)
    return transformer.ln_f(x)


def attend(qkv: Tensor, lengths: list[int], block: GPT2Block, drop: "Dropper") -> Tensor:
    """Causal attention (N, n_embd) of each row to itself; qkv: (N, 3 n_embd)."""
    num_heads, dropout = block.attn.num_heads, drop.rate(block.attn.attn_dropout)
    if qkv.device.type == "cpu":
        return RowAttention.apply(qkv, lengths, num_heads, dropout, drop)
    rows = []
    for row in qkv.split(lengths):
        q, k, v = by_head(row, 3 * num_heads).chunk(3)
        out = F.scaled_dot_product_attention(q[None], k[None], v[None], None, dropout, True)
        rows.append(out[0].transpose(0, 1).flatten(1))
    return torch.cat(rows)


def by_head(x: Tensor, num_heads: int) -> Tensor:
    """(T, num_heads * D) -> (num_heads, T, D), a view."""
    return x.unflatten(1, (num_heads, -1)).transpose(0, 1)


class RowAttention(torch.autograd.Function):
    """Attention by three products in the CPU's matrix units.

    The library's flash attention for CPUs is slower by a multiple in its backward pass, and with
    dropout it is not used at all. Probabilities are kept for the backward pass.
    """

    @staticmethod
    def forward(ctx, qkv: Tensor, lengths: list[int], num_heads: int, dropout: float, drop):
        out = torch.empty_like(qkv[:, : qkv.shape[1] // 3])
        saved = []
        for queries, seen in causal_pieces(lengths):
            q, _, _ = by_head(qkv[queries], 3 * num_heads).chunk(3)
            _, k, v = by_head(qkv[seen], 3 * num_heads).chunk(3)
            bias = causal_bias(q.shape[1], k.shape[1], qkv.dtype)
            scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[2] ** -0.5)
            probabilities = scores.softmax(-1)
            kept = drop.kept(scores.shape, dropout, qkv.dtype) if dropout else None
            attended = torch.bmm(probabilities if kept is None else probabilities * kept, v)
            by_head(out[queries], num_heads).copy_(attended)
            saved += [probabilities, kept]
        ctx.save_for_backward(qkv, *saved)
        ctx.lengths, ctx.num_heads, ctx.scale = lengths, num_heads, kept_scale(dropout)
        return out.mul_(ctx.scale) if dropout else out

    @staticmethod
    def backward(ctx, grad_out: Tensor):
        qkv, *saved = ctx.saved_tensors
        num_heads = ctx.num_heads
        grad_out = grad_out * ctx.scale
        grad = torch.zeros_like(qkv)
        for queries, seen in causal_pieces(ctx.lengths):
            probabilities, kept, *saved = saved
            q, _, _ = by_head(qkv[queries], 3 * num_heads).chunk(3)
            _, k, v = by_head(qkv[seen], 3 * num_heads).chunk(3)
            grad_q, _, _ = by_head(grad[queries], 3 * num_heads).chunk(3)
            _, grad_k, grad_v = by_head(grad[seen], 3 * num_heads).chunk(3)
            grad_attended = by_head(grad_out[queries], num_heads)
            weights = probabilities if kept is None else probabilities * kept
            grad_v += torch.bmm(weights.transpose(1, 2), grad_attended)
            grad_weights = torch.bmm(grad_attended, v.transpose(1, 2))
            if kept is not None:
                grad_weights *= kept
            grad_scores = torch._softmax_backward_data(
                grad_weights, probabilities, -1, probabilities.dtype
            )
            grad_scores *= q.shape[2] ** -0.5
            grad_q += torch.bmm(grad_scores, k)
            grad_k += torch.bmm(grad_scores.transpose(1, 2), q)
        return grad, None, None, None, None


def causal_pieces(lengths: list[int]) -> list[tuple[slice, slice]]:
    """(queries, what they may see) of each row, long rows in several pieces."""
    pieces, start = [], 0
    for length in lengths:
        for first in range(start, start + length, QUERIES):
            end = min(first + QUERIES, start + length)
            pieces.append((slice(first, end), slice(start, end)))
        start += length
    return pieces


def causal_bias(num_queries: int, num_keys: int, dtype: torch.dtype) -> Tensor:
    """0 where a query may see a key, else -inf; the last query sees the last key."""
    bias = torch.full((num_queries, num_keys), -math.inf, dtype=dtype)
    return bias.triu(num_keys - num_queries + 1)


class Dropper:
    """Dropout of one forward pass, at the rates of the model's own layers.

    On a CPU the library's generator takes longer than the products on either side. Here 16 random
    bits decide on an element: the rate is the wanted one to 2^-17, and what is kept is scaled by
    the rate as it is, so that expectations are exact. All bits follow from torch's seed.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_cpu = device.type == "cpu"
        self.bits: np.random.SFC64 | None = None

    def rate(self, layer: nn.Dropout) -> float:
        return layer.p if layer.training else 0.0

    def add(self, residual: Tensor, x: Tensor, layer: nn.Dropout) -> Tensor:
        """The residual stream with x, some of it dropped, added."""
        rate = self.rate(layer)
        if not (rate and self.is_cpu):
            return residual + layer(x)
        return torch.add(residual, x * self.kept(x.shape, rate, x.dtype), alpha=kept_scale(rate))

    def kept(self, shape: torch.Size, rate: float, dtype: torch.dtype) -> Tensor:
        """1 for an element that is kept, 0 for a dropped one."""
        if self.bits is None:
            self.bits = np.random.SFC64(torch.randint(2**62, ()).item())
        count, threshold = math.prod(shape), dropped_of_65536(rate) - 2**15
        words = torch.from_numpy(self.bits.random_raw(-(-count // 4)).view(np.int16))[:count]
        # words >= threshold, without the detour over bool, which the library converts slowly
        is_kept = words.clamp(threshold - 1, threshold).sub_(threshold - 1)
        return is_kept.view(shape).to(dtype)


def dropped_of_65536(rate: float) -> int:
    return round(rate * 2**16)


def kept_scale(rate: float) -> float:
    """What a kept element is multiplied by, so that the expectation stays."""
    return 2**16 / (2**16 - dropped_of_65536(rate))
