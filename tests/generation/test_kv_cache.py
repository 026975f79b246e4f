"""Attention with cached keys and values, compared with attention over whole rows."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config

from llmkit.generation import kv_cache
from llmkit.generation.kv_cache import CachedAttention, KeyValueCache, Span, rows_per_product

CONFIG = GPT2Config(n_layer=2, n_head=3, n_embd=12, n_positions=64)
DROPOUT = nn.Dropout(0.5)  # never applied in generation


def span_of(slot, start, end, generator):
    """A span of which some tokens are used, among them the first one or the last one."""
    if end - start == 1:
        return Span(slot, start, end, [start])
    used = torch.rand(end - start, generator=generator) < 0.5
    used[-1 if slot % 2 else 0] = True
    return Span(slot, start, end, (start + used.nonzero().flatten()).tolist())


def whole_row(qkv):
    """Causal self-attention over one row, (T, D)."""
    q, k, v = qkv.unflatten(1, (3, 3, 4)).permute(1, 2, 0, 3)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("num_rows", [1, 7, 20])
def test_rows_read_in_any_pieces_attend_to_all_their_tokens(num_rows, monkeypatch):
    monkeypatch.setattr(kv_cache, "MAX_KEY_BYTES", 10_000)  # a few rows
    generator = torch.Generator().manual_seed(num_rows)
    lengths = torch.randint(2, 40, (num_rows,), generator=generator).tolist()
    rows = [
        [torch.randn(n, 36, generator=generator, dtype=torch.float64) for _ in range(2)]
        for n in lengths
    ]
    cache = KeyValueCache(CONFIG, num_rows, 40, torch.float64, torch.device("cpu"))
    starts = [0] * num_rows
    while any(start < n for start, n in zip(starts, lengths, strict=True)):
        sizes = torch.randint(0, 4, (num_rows,), generator=generator).tolist()
        # The running rows come first, one token each; prompts follow in pieces of any length.
        running = [1 if start else 0 for start in starts]
        sizes = [max(size, one) for size, one in zip(sizes, running, strict=True)]
        spans = [
            span_of(slot, start, min(n, start + size), generator)
            for slot, (start, size, n) in enumerate(zip(starts, sizes, lengths, strict=True))
            if start < n and size
        ]
        if not spans:
            continue
        attend = CachedAttention(cache, spans)
        for block in range(2):
            qkv = torch.cat([rows[span.slot][block][span.start : span.end] for span in spans])
            found = attend(block, qkv, DROPOUT).split([span.end - span.start for span in spans])
            used = attend(block, qkv, DROPOUT, torch.empty(0)).split([len(s.used) for s in spans])
            for span, values, of_used in zip(spans, found, used, strict=True):
                expected = whole_row(rows[span.slot][block][: span.end])
                torch.testing.assert_close(values, expected[span.start :])
                torch.testing.assert_close(of_used, expected[span.used])
        for span in spans:
            starts[span.slot] = span.end


def test_a_copied_slot_continues_like_the_original():
    qkv = torch.randn(9, 36)
    cache = KeyValueCache(CONFIG, 3, 16, torch.float32, torch.device("cpu"))
    CachedAttention(cache, [Span(0, 0, 8, [7])])(1, qkv[:8], DROPOUT)
    cache.copy(0, 2, 8)
    expected = whole_row(qkv)[8:]
    found = CachedAttention(cache, [Span(2, 8, 9, [8])])(1, qkv[8:], DROPOUT)
    torch.testing.assert_close(found, expected)


def test_bytes_per_token_are_those_of_the_tensors():
    cache = KeyValueCache(CONFIG, 3, 16, torch.float16, torch.device("cpu"))
    assert cache.keys_values.nbytes == 3 * 16 * KeyValueCache.bytes_per_token(CONFIG, torch.float16)


def test_fewer_rows_share_a_product_the_longer_they_are(monkeypatch):
    keys_values = torch.zeros(2, 2, 1, 3, 16, 4)  # 48 bytes per token, of keys
    monkeypatch.setattr(kv_cache, "MAX_KEY_BYTES", 4800)
    assert rows_per_product([5, 10, 1], keys_values) == 10
    assert rows_per_product([5, 100], keys_values) == 1
    assert rows_per_product([1000], keys_values) == 1
