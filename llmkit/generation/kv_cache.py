"""Keys and values of the tokens that a model has read, and attention to them."""

from dataclasses import dataclass
from itertools import accumulate

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
        shape = (config.num_hidden_layers, 2, num_slots, self.num_heads, length, head_dim)
        # Zeros rather than empty: a masked position counts with weight 0, and 0 * NaN is NaN.
        self.keys_values = torch.zeros(shape, dtype=dtype, device=device)

    @staticmethod
    def bytes_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
        return 2 * config.num_hidden_layers * config.hidden_size * dtype.itemsize

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a slot to another slot."""
        slots = self.keys_values[:, :, :, :, :length]
        slots[:, :, target] = slots[:, :, source]

    def write(self, block: int, slot: int, qkv: Tensor) -> None:
        """Set the keys and values of a slot from a row's qkv (T, 3 * D), as far as they fit."""
        new = qkv[: self.keys_values.shape[4]].unflatten(1, (3, self.num_heads, -1))[:, 1:]
        self.keys_values[block, :, slot, :, : len(new)] = new.permute(1, 2, 0, 3)


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
        num_running = 0
        while num_running < len(spans) and is_single(spans[num_running], num_running):
            num_running += 1
        if num_running == 1:  # one row needs no batch
            num_running = 0
        keys_values, ends = cache.keys_values, [span.end for span in spans[:num_running]]
        self.keys_values, self.num_heads, self.num_running = (
            keys_values, cache.num_heads, num_running
        )  # fmt: skip
        self.slots = torch.arange(num_running, device=keys_values.device)
        self.positions = torch.tensor(ends, device=keys_values.device, dtype=torch.long) - 1
        size = rows_per_product(ends, keys_values)
        groups = [slice(i, min(i + size, num_running)) for i in range(0, num_running, size)]
        self.running = [RunningRows.of(keys_values, rows, ends[rows]) for rows in groups]
        starts = accumulate((s.end - s.start for s in spans[num_running:]), initial=num_running)
        self.prompts = [
            Prompt.of(keys_values, span, start)
            for span, start in zip(spans[num_running:], starts, strict=False)
        ]

    def __call__(
        self, block: int, qkv: Tensor, dropout: nn.Dropout, used: Tensor | None = None
    ) -> Tensor:
        """qkv: (N, 3 * D) of the N new tokens -> (N, D), or, given `used`, (num_rows, D) of each
        row's last new token. There is no dropout in generation."""
        qkv = qkv.to(self.keys_values.dtype).unflatten(1, (3, self.num_heads, -1))
        q, new = qkv[:, 0], qkv[:, 1:]
        if self.running:
            known = self.keys_values[block]
            known[:, self.slots, :, self.positions] = new[: self.num_running]
        attended = [rows.attend(block, q) for rows in self.running]
        is_last = used is not None
        attended += [prompt.attend(block, q, new, only_last=is_last) for prompt in self.prompts]
        return (attended[0] if len(attended) == 1 else torch.cat(attended)).flatten(1)


@dataclass(frozen=True)
class RunningRows:
    """Rows that read one token each and share one product."""

    rows: slice
    known: tuple[Tensor, ...]
    """Keys and values of each block, (2, num_rows, num_heads, longest, head_dim): views of the
    cache."""
    mask: Tensor | None
    """See `length_mask`."""

    @classmethod
    def of(cls, keys_values: Tensor, rows: slice, ends: list[int]) -> "RunningRows":
        known = keys_values[:, :, rows, :, : max(ends)].unbind()
        return cls(rows, known, length_mask(ends, keys_values.dtype, keys_values.device))

    def attend(self, block: int, q: Tensor) -> Tensor:
        """q: (N, num_heads, head_dim) -> the same of these rows."""
        query = q[self.rows, :, None]
        return F.scaled_dot_product_attention(query, *self.known[block], self.mask)[:, :, 0]


@dataclass(frozen=True)
class Prompt:
    """A row that processes its prompt, or the rest of it."""

    rows: slice
    added: tuple[Tensor, ...]
    """Views of the cache for the keys and values of the T new tokens, (2, num_heads, T, head_dim),
    one per block."""
    known: tuple[Tensor, ...]
    """Views of the cache with the keys and values of all tokens so far, one per block."""
    bias: Tensor | None
    """See `causal_bias`; None without cached tokens, or if the only new token attends to all."""

    @classmethod
    def of(cls, keys_values: Tensor, span: Span, first: int) -> "Prompt":
        """first: Index of the row's first new token among all new tokens."""
        num_new, bias = span.end - span.start, None
        if span.start > 0 and num_new > 1:
            bias = causal_bias(num_new, span.end, keys_values.dtype).to(keys_values.device)
        row = keys_values[:, :, span.slot]
        known, added = row[..., : span.end, :], row[..., span.start : span.end, :]
        return cls(slice(first, first + num_new), added.unbind(), known.unbind(), bias)

    def attend(self, block: int, q: Tensor, new: Tensor, *, only_last: bool) -> Tensor:
        """q: (N, num_heads, head_dim), new: (N, 2, num_heads, head_dim) -> (T, num_heads,
        head_dim), or those of the last token alone, which attends to all."""
        self.added[block].copy_(new[self.rows].permute(1, 2, 0, 3))
        rows = slice(self.rows.stop - 1, self.rows.stop) if only_last else self.rows
        query, known = q[rows].transpose(0, 1)[None], self.known[block][:, None]
        bias = None if only_last else self.bias
        is_causal = not only_last and bias is None and query.shape[2] == known.shape[3]
        out = F.scaled_dot_product_attention(query, *known, bias, is_causal=is_causal)
        return out[0].transpose(0, 1)


def rows_per_product(ends: list[int], keys_values: Tensor) -> int:
    """Number of rows that share one matrix product: few on a CPU, all on other devices."""
    if keys_values.device.type != "cpu" or not ends:
        return max(1, len(ends))
    row_bytes = max(ends) * keys_values.shape[3] * keys_values.shape[5] * keys_values.itemsize
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
