"""Building blocks of a forward pass without padding: attention within rows, and fast dropout.

The rows of a batch are concatenated into one sequence of N tokens, so that the linear layers see
one matrix without padding, while attention stays within each row. Weights, adapters and layers are
those of the Hugging Face model, whose own forward pass is the reference.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

QUERY_BLOCK = 256  # queries of a long row per matrix product; keys after the last are skipped
MAX_BUNDLED_SCORES = 2**15  # attention scores, per head, of short rows that share a product
MAX_FLASH_HEAD = 192  # dimensions; some GPUs cannot train more, see PyTorch's sdp_utils.cpp
INT_DTYPES = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of an element


@dataclass(frozen=True)
class RowBounds:
    """Boundaries of the rows in a sequence."""

    lengths: list[int]
    starts: Tensor
    """(num_rows + 1,), int32, on the device: index of each row's first token, and N."""


Attention = Callable[[int, Tensor, nn.Dropout, Tensor | None], Tensor]
"""(index of a block, qkv (N, 3 * D), the block's dropout layer for attention probabilities, the
positions used of its output) -> attended values (N, D), or, given positions, (num_used, D)."""


def checkpointed(block: Callable[[Tensor], Tensor], x: Tensor, drop: "FastDropout") -> Tensor:
    """block(x), of which only x is kept: the backward pass computes the rest again, with the same
    dropout masks."""
    bits = drop.state()

    def run(x: Tensor) -> Tensor:
        drop.restore(bits)
        return block(x)

    return checkpoint(run, x, use_reentrant=False)


def attention_within_rows(
    rows: RowBounds,
    num_heads: int,
    drop: "FastDropout",
    keep: Callable[[int, Tensor], None] | None = None,
) -> Attention:
    """Causal attention of each row to itself, for rows that are concatenated.

    keep: Called with the index of each block and its qkv (N, 3 * D).
    """

    def attention(block: int, qkv: Tensor, layer: nn.Dropout, used: Tensor | None = None) -> Tensor:
        if keep is not None:
            keep(block, qkv)
        attended = attend(qkv, rows, num_heads, layer, drop)
        return attended if used is None else attended.index_select(0, used)

    return attention


def attend(
    qkv: Tensor, rows: RowBounds, num_heads: int, layer: nn.Dropout, drop: "FastDropout"
) -> Tensor:
    """Causal attention (N, D) of each row to itself.

    Args:
        qkv: (N, 3 * D), queries, keys and values of all heads.
        layer: The model's dropout layer for attention probabilities.
    """
    dropout = drop.probability(layer)
    head_dim = qkv.shape[1] // (3 * num_heads)
    if qkv.is_cuda and head_dim % 8 == 0:  # as the kernels require
        return cuda_attention(qkv, rows, num_heads, dropout)
    if qkv.is_cpu:
        return RowAttention.apply(qkv, bundle_rows(rows.lengths), num_heads, dropout, drop)
    return library_attention(qkv, rows.lengths, num_heads, dropout)


def cuda_attention(qkv: Tensor, rows: RowBounds, num_heads: int, dropout: float) -> Tensor:
    """Causal attention of all rows in one call of PyTorch's kernels; see `attend`.

    Flash attention (Dao, 2023) in half precision from compute capability 8.0 on, for heads that its
    backward pass supports on all of these GPUs; otherwise memory-efficient attention (Rabe and
    Staats, 2021). The kernels are called directly because the
    public function for rows of different lengths, torch.nn.attention.varlen, supports neither
    dropout nor float32.
    """
    q, k, v = qkv.unflatten(1, (3, num_heads, -1)).unbind(1)  # (N, num_heads, head_dim) each
    bounds = rows.starts, rows.starts, max(rows.lengths), max(rows.lengths)
    has_flash = torch.cuda.get_device_capability(qkv.device) >= (8, 0)
    if has_flash and qkv.dtype in (torch.bfloat16, torch.float16) and q.shape[2] <= MAX_FLASH_HEAD:
        attended = torch.ops.aten._flash_attention_forward(q, k, v, *bounds, dropout, True, False)
        return attended[0].flatten(1)
    causal_from_top_left = 1  # the number of this mask in PyTorch's sdp_utils.h
    attended = torch.ops.aten._efficient_attention_forward(
        q[None], k[None], v[None], None, *bounds, dropout, causal_from_top_left, True
    )
    return attended[0][0].flatten(1)


def library_attention(qkv: Tensor, lengths: list[int], num_heads: int, dropout: float) -> Tensor:
    """Causal attention by PyTorch's public function, one row at a time, for other devices."""
    rows = []
    for row in qkv.split(lengths):
        q, k, v = row.unflatten(1, (3 * num_heads, -1)).transpose(0, 1).chunk(3)
        out = F.scaled_dot_product_attention(q[None], k[None], v[None], None, dropout, True)
        rows.append(out[0].transpose(0, 1).flatten(1))
    return torch.cat(rows)


class RowAttention(torch.autograd.Function):
    """Attention on a CPU by plain matrix products.

    The backward pass of PyTorch's flash attention for CPUs is several times slower, and with
    dropout PyTorch does not use it at all. Attention probabilities are saved for the backward pass.
    """

    @staticmethod
    def forward(ctx, qkv: Tensor, bundles: list[list[slice]], num_heads: int, dropout: float, drop):
        """
        Args:
            qkv: (N, 3 * D).
            bundles: The rows that share matrix products; see `bundle_rows`.
            dropout: Probability.
            drop: The FastDropout that draws the masks.
        """
        out = torch.empty_like(qkv[:, : qkv.shape[1] // 3])
        saved = []
        for rows in bundles:
            q, k, v = split_heads(qkv, rows, 3, num_heads)
            attended = torch.empty_like(q)
            for queries, seen in causal_pieces(q.shape[1]):
                bias = causal_bias(queries.stop - queries.start, seen.stop, q.dtype)
                scale = q.shape[2] ** -0.5
                scores = torch.baddbmm(bias, q[:, queries], k[:, seen].mT, alpha=scale)
                probabilities = scores.softmax(-1)
                mask = drop.mask(scores.shape, dropout, q.dtype) if dropout else None
                attended[:, queries] = torch.bmm(apply_mask(probabilities, mask), v[:, seen])
                saved += [probabilities, mask] if ctx.needs_input_grad[0] else []
            merge_heads(attended[None], out, rows)
        ctx.save_for_backward(qkv, *saved)
        ctx.bundles, ctx.num_heads = bundles, num_heads
        ctx.scale = inverse_keep_probability(dropout)
        return out.mul_(ctx.scale) if dropout else out

    @staticmethod
    def backward(ctx, grad_out: Tensor):
        qkv, *saved = ctx.saved_tensors
        saved = iter(saved)
        grad = torch.empty_like(qkv)
        for rows in ctx.bundles:
            q, k, v = split_heads(qkv, rows, 3, ctx.num_heads)
            grad_attended = split_heads(grad_out, rows, 1, ctx.num_heads)[0].mul_(ctx.scale)
            grads = torch.zeros(3, *q.shape, dtype=q.dtype)
            grad_q, grad_k, grad_v = grads
            for queries, seen in causal_pieces(q.shape[1]):
                probabilities, mask = next(saved), next(saved)
                grad_piece = grad_attended[:, queries]
                grad_v[:, seen].baddbmm_(apply_mask(probabilities, mask).mT, grad_piece)
                grad_weights = apply_mask(torch.bmm(grad_piece, v[:, seen].mT), mask)
                grad_scores = torch._softmax_backward_data(
                    grad_weights, probabilities, -1, probabilities.dtype
                )
                scale = q.shape[2] ** -0.5
                grad_q[:, queries].baddbmm_(grad_scores, k[:, seen], alpha=scale)
                grad_k[:, seen].baddbmm_(grad_scores.mT, q[:, queries], alpha=scale)
            merge_heads(grads, grad, rows)
        return grad, None, None, None, None


def bundle_rows(lengths: list[int]) -> list[list[slice]]:
    """Slices of the rows, grouped in order so that short rows share one matrix product: many small
    products would take longer."""
    bundles: list[list[slice]] = []
    start = longest = 0
    for length in lengths:
        longest = max(longest, length)
        if not bundles or (len(bundles[-1]) + 1) * longest**2 > MAX_BUNDLED_SCORES:
            bundles.append([])
            longest = length
        bundles[-1].append(slice(start, start + length))
        start += length
    return bundles


def split_heads(x: Tensor, rows: list[slice], parts: int, num_heads: int) -> Tensor:
    """(parts, num_rows * num_heads, T, head_dim) from rows of x (N, parts * num_heads * head_dim).

    Shorter rows are padded with zeros after their end, where causal attention does not look.
    """
    longest = max(row.stop - row.start for row in rows)
    allocate = torch.empty if len(rows) == 1 else torch.zeros
    head_dim = x.shape[1] // (parts * num_heads)
    padded = allocate(parts, len(rows), num_heads, longest, head_dim, dtype=x.dtype)
    for index, row in enumerate(rows):
        part = x[row].unflatten(1, (parts, num_heads, head_dim)).permute(1, 2, 0, 3)
        padded[:, index, :, : part.shape[2]] = part
    return padded.flatten(1, 2)


def merge_heads(padded: Tensor, x: Tensor, rows: list[slice]) -> None:
    """Write the inverse of `split_heads` into x."""
    parts, num_heads = padded.shape[0], padded.shape[1] // len(rows)
    padded = padded.unflatten(1, (len(rows), num_heads))
    for index, row in enumerate(rows):
        part = x[row].unflatten(1, (parts, num_heads, -1)).permute(1, 2, 0, 3)
        part.copy_(padded[:, index, :, : part.shape[2]])


def causal_pieces(length: int) -> list[tuple[slice, slice]]:
    """Slices of (queries, keys that they may attend to): a long row in pieces of QUERY_BLOCK."""
    ends = [*range(QUERY_BLOCK, length, QUERY_BLOCK), length]
    starts = range(0, length, QUERY_BLOCK)
    return [(slice(start, end), slice(0, end)) for start, end in zip(starts, ends, strict=True)]


@lru_cache(maxsize=64)
def causal_bias(num_queries: int, num_keys: int, dtype: torch.dtype) -> Tensor:
    """(num_queries, num_keys): 0 where a query may attend to a key, else -inf. The last query
    attends to the last key."""
    bias = torch.full((num_queries, num_keys), -math.inf, dtype=dtype)
    return bias.triu(num_keys - num_queries + 1)


class FastDropout:
    """Dropout for one forward pass, with the probabilities of the model's own dropout layers.

    On a CPU, PyTorch's random generator takes longer than the matrix products on either side. Here
    16 random bits decide whether to drop an element. The probability is therefore rounded to a
    multiple of 2^-16 and never 0 or 1; kept elements are scaled by the rounded probability, so that
    expectations are exact. torch's seed determines all bits.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_cpu = device.type == "cpu"
        self.bits: np.random.SFC64 | None = None

    def state(self) -> dict | None:
        """The state of the random bits; None before the first mask, which torch's seed decides."""
        return None if self.bits is None else self.bits.state

    def restore(self, state: dict | None) -> None:
        """Go back to a state, so that the masks that followed it are drawn again."""
        if state is None:
            self.bits = None
        else:
            self.bits.state = state

    def probability(self, layer: nn.Dropout) -> float:
        """The probability with which a layer drops elements now: 0 outside of training."""
        return layer.p if layer.training else 0.0

    def add(self, residual: Tensor, x: Tensor, layer: nn.Dropout) -> Tensor:
        """residual + dropout(x)."""
        probability = self.probability(layer)
        if not probability:
            return residual + x
        if not self.is_cpu:
            return residual + layer(x)
        masked = ApplyMask.apply(x, self.mask(x.shape, probability, x.dtype))
        return torch.add(residual, masked, alpha=inverse_keep_probability(probability))

    def mask(self, shape: torch.Size, probability: float, dtype: torch.dtype) -> Tensor:
        """Integers of dtype's size: all bits set for an element that is kept, none for others."""
        if self.bits is None:
            self.bits = np.random.SFC64(torch.randint(2**62, ()).item())
        count, end = math.prod(shape), 2**15 - dropped_of_65536(probability)
        words = torch.from_numpy(self.bits.random_raw(-(-count // 4)).view(np.int16))[:count]
        # -1 where words < end, else 0; the comparison would give bools, which convert slowly
        mask = words.clamp(end - 1, end).sub_(end)
        return mask.view(shape).to(INT_DTYPES[dtype.itemsize])


class ApplyMask(torch.autograd.Function):
    """`apply_mask`, and the same for the gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return apply_mask(x, mask)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return apply_mask(grad, *ctx.saved_tensors), None


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """x where all bits of the mask are set, 0 where none is; all of x without a mask.

    Faster than a product with the mask.
    """
    return x if mask is None else (x.view(mask.dtype) & mask).view(x.dtype)


def dropped_of_65536(probability: float) -> int:
    """Number of the 65,536 16-bit values that mean that an element is dropped."""
    return min(max(1, round(probability * 2**16)), 2**16 - 1)


def inverse_keep_probability(probability: float) -> float:
    """The factor of kept elements that preserves the expectation; probability: of dropping one."""
    return 2**16 / (2**16 - dropped_of_65536(probability)) if probability else 1.0
