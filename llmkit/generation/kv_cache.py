"""Keys and values of the tokens that a model has read, and attention to them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig

from llmkit.families.padding_free import causal_bias

# Running rows share one product over the longest of them until their keys have about this size;
# larger products would waste more on shorter rows than fewer calls save.
MAX_KEY_BYTES = 2**22


class KeyValueCache:
    """Preallocated keys and values of every block: one slot of `length` tokens per row."""

    def __init__(
        self,
        config: PreTrainedConfig,
        num_slots: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_heads = config.num_attention_heads
        head_dim = config.hidden_size // self.num_heads
        shape = (num_slots, self.num_heads, length, head_dim)
        # Zeros rather than empty: a masked position counts with weight 0, and 0 * NaN is NaN.
        self.keys, self.values = (
            [
                torch.zeros(shape, dtype=dtype, device=device)
                for _ in range(config.num_hidden_layers)
            ]
            for _ in range(2)
        )

    @staticmethod
    def bytes_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
        return 2 * config.num_hidden_layers * config.hidden_size * dtype.itemsize

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a slot to another slot."""
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :length] = tensor[source, :, :length]


@dataclass(frozen=True)
class Span:
    """The tokens that a step reads of one row."""

    slot: int
    start: int
    """Tokens of the row that the cache holds already."""
    end: int
    """Tokens of the row after the step."""


class CachedAttention:
    """The attention of one step: each row's new tokens attend to all of the row's tokens so far.

    The first rows, in slots 0, 1, ..., read one token each; the others read their prompts.
    """

    def __init__(self, cache: KeyValueCache, spans: list[Span]) -> None:
        self.cache = cache
        num_running = 0
        while num_running < len(spans) and is_single(spans[num_running], num_running):
            num_running += 1
        self.num_running, self.prompts = num_running, spans[num_running:]
        device, dtype = cache.keys[0].device, cache.keys[0].dtype
        ends = [span.end for span in spans[:num_running]]
        self.slots = torch.arange(num_running, device=device)
        self.positions = torch.tensor(ends, device=device, dtype=torch.long) - 1
        size = (
            rows_per_product(ends, cache.keys[0]) if device.type == "cpu" else max(num_running, 1)
        )
        starts = range(0, num_running, size)
        self.groups = [
            (slice(start, start + size), max(ends[start : start + size])) for start in starts
        ]
        self.masks = [length_mask(ends[rows], dtype, device) for rows, _ in self.groups]

    def __call__(self, block: int, qkv: Tensor, dropout: nn.Dropout) -> Tensor:
        """qkv: (N, 3 * D) of the N new tokens -> (N, D). There is no dropout in generation."""
        keys, values = self.cache.keys[block], self.cache.values[block]
        q, k, v = qkv.to(keys.dtype).unflatten(1, (3, self.cache.num_heads, -1)).unbind(1)
        count = self.num_running
        keys[self.slots, :, self.positions] = k[:count]
        values[self.slots, :, self.positions] = v[:count]
        attended = torch.empty_like(q)  # (N, num_heads, head_dim)
        for (rows, longest), mask in zip(self.groups, self.masks, strict=True):
            out = F.scaled_dot_product_attention(
                q[:count][rows, :, None], keys[rows, :, :longest][: count - rows.start],
                values[rows, :, :longest][: count - rows.start], mask,
            )  # fmt: skip
            attended[:count][rows] = out[:, :, 0]
        first = count
        for span in self.prompts:
            rows = slice(first, first + span.end - span.start)
            first = rows.stop
            keys[span.slot, :, span.start : span.end] = k[rows].transpose(0, 1)
            values[span.slot, :, span.start : span.end] = v[rows].transpose(0, 1)
            seen = (tensor[span.slot, :, : span.end][None] for tensor in (keys, values))
            bias = causal_bias_of(span, keys)
            out = F.scaled_dot_product_attention(
                q[rows].transpose(0, 1)[None], *seen, bias, is_causal=bias is None
            )
            attended[rows] = out[0].transpose(0, 1)
        return attended.flatten(1)


def rows_per_product(ends: list[int], keys: Tensor) -> int:
    """How many rows of these lengths share one product on a CPU."""
    _, num_heads, _, head_dim = keys.shape
    row_bytes = max(ends, default=1) * num_heads * head_dim * keys.itemsize
    return max(1, MAX_KEY_BYTES // row_bytes)


def is_single(span: Span, slot: int) -> bool:
    return span.slot == slot and span.end - span.start == 1 and span.start > 0


def length_mask(ends: list[int], dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """(num_rows, 1, 1, longest): 0 at the tokens of each row, -inf after them; None if all rows
    have the same length."""
    if min(ends) == max(ends):
        return None
    positions, lengths = torch.arange(max(ends)), torch.tensor(ends)[:, None, None, None]
    mask = torch.zeros(len(ends), 1, 1, max(ends), dtype=dtype)
    return mask.masked_fill_(positions >= lengths, -torch.inf).to(device)


def causal_bias_of(span: Span, keys: Tensor) -> Tensor | None:
    """The mask of a prompt that follows cached tokens; None for one that starts the row."""
    if span.start == 0:
        return None
    return causal_bias(span.end - span.start, span.end, keys.dtype).to(keys.device)
