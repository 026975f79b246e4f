"""The loss: the only place that shifts labels and that knows -100.

Labels stand unshifted beside input_ids, as in Hugging Face: labels[t] is the token at t, and it
is predicted from position t - 1. Losses are sums; whoever owns the whole optimizer step divides.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

IGNORE_INDEX = -100


def num_supervised(labels: Tensor) -> int:
    """Positions that carry loss. The first token of a row is never predicted."""
    return int((labels[:, 1:] != IGNORE_INDEX).sum())


class SupervisedLoss(nn.Module):
    """A model with its loss in one forward pass, so that distributed wrappers see all of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        position_ids: Tensor | None = None,
        row_ids: Tensor | None = None,
    ) -> Tensor:
        """Sum of the cross-entropy over the supervised positions; nats.

        input_ids, labels: (B, T), padded on the right. The causal mask alone keeps real tokens
        from seeing the padding behind them, and logits are computed at supervised positions only.
        Where rows share a sequence, position_ids and row_ids (B, T) keep them apart.
        """
        model = causal_lm(self.model)
        mask = None if row_ids is None else packed_mask(row_ids, model.dtype)
        hidden = model.transformer(
            input_ids, attention_mask=mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state  # (B, T, n_embd)
        is_supervised = labels[:, 1:] != IGNORE_INDEX  # (B, T - 1)
        logits = model.lm_head(hidden[:, :-1][is_supervised])  # (num_supervised, vocab_size)
        targets = labels[:, 1:][is_supervised]
        precise = torch.promote_types(logits.dtype, torch.float32)  # float32 or better
        return F.cross_entropy(logits.to(precise), targets, reduction="sum")


def packed_mask(row_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, T), added to attention scores: each token sees its own row up to itself.

    Given in full, since a library that has to guess from position ids where rows begin stops
    guessing, silently, when it is handed a mask or a cache.
    """
    length = row_ids.shape[1]
    is_causal = torch.ones(length, length, dtype=torch.bool, device=row_ids.device).tril()
    is_seen = (row_ids[:, :, None] == row_ids[:, None, :]) & is_causal
    mask = torch.zeros(is_seen.shape, dtype=dtype, device=row_ids.device)
    return mask.masked_fill(~is_seen, torch.finfo(dtype).min)[:, None]


def causal_lm(model: nn.Module) -> GPT2LMHeadModel:
    """The GPT-2 inside an adapter's wrapper, or the model itself."""
    return model if isinstance(model, GPT2LMHeadModel) else model.get_base_model()
