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

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Sum of the cross-entropy over the supervised positions; nats.

        input_ids, labels: (B, T), padded on the right. The causal mask alone keeps real tokens
        from seeing the padding behind them, and logits are computed at supervised positions only.
        """
        model = causal_lm(self.model)
        hidden = model.transformer(input_ids).last_hidden_state  # (B, T, n_embd)
        is_supervised = labels[:, 1:] != IGNORE_INDEX  # (B, T - 1)
        logits = model.lm_head(hidden[:, :-1][is_supervised])  # (num_supervised, vocab_size)
        targets = labels[:, 1:][is_supervised]
        precise = torch.promote_types(logits.dtype, torch.float32)  # float32 or better
        return F.cross_entropy(logits.to(precise), targets, reduction="sum")


def causal_lm(model: nn.Module) -> GPT2LMHeadModel:
    """The GPT-2 inside an adapter's wrapper, or the model itself."""
    return model if isinstance(model, GPT2LMHeadModel) else model.get_base_model()
