"""The loss of the supervised tokens of a batch.

Losses are sums over tokens; the training step divides them by the number of supervised tokens of
the whole step.

Shapes: B sequences of T tokens, D the model's hidden size.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from llmkit.config.schema import Forward
from llmkit.data.batches import Batch
from llmkit.families import family_of
from llmkit.families.compiled import Compiler, as_it_is
from llmkit.families.padding_free import FastDropout, RowBounds, attention_within_rows
from llmkit.model.half_weights import HalfWeights

LOGIT_ROWS = 1024  # positions whose logits are in memory at a time
LOGIT_ROWS_ON_GPU = 4096
HALF_PRECISION = (torch.bfloat16, torch.float16)
HAS_FLOAT32_SUMS = "dtype" in torch.ops.aten.mm.overloads()  # from torch 2.8 on, on GPUs
HALF_OF_FLOAT16 = 2**15  # about half of float16's largest number


class SupervisedLoss(nn.Module):
    """A model with its loss in one forward pass, so that distributed wrappers see all of it.

    Attributes:
        forward_pass: `padding_free` takes batches whose rows are concatenated into one sequence,
            and runs the forward pass of the model family; `transformers` runs that of the library.
        half_weights: Half-precision copies of the weights, so that autocast need not make its own.
        compiled: Compiles parts of the forward pass of the model family.
    """

    def __init__(self, model: nn.Module, forward_pass: Forward) -> None:
        super().__init__()
        self.model = model
        self.forward_pass = forward_pass
        self.half_weights: HalfWeights | None = None
        self.compiled: Compiler = as_it_is
        self.family = family_of(unwrap_model(model).config)

    def use_half_weights(self, dtype: torch.dtype) -> None:
        """From now on, compute with copies of the weights in autocast's dtype, which have to be
        refreshed whenever the weights have changed."""
        bare = unwrap_model(self.model)
        output, blocks = bare.get_output_embeddings(), self.family.blocks(bare)
        self.half_weights = HalfWeights(self.model, blocks, output, dtype)

    def forward(self, batch: Batch) -> Tensor:
        """Sum of the cross-entropy over the supervised tokens; nats.

        Logits are computed at the positions that predict them only.
        """
        weight = unwrap_model(self.model).get_output_embeddings().weight
        with self.half_weights.in_use() if self.half_weights else nullcontext():
            hidden = self.used_states(batch)
        copy = self.half_weights.output if self.half_weights else None
        return SumCrossEntropy.apply(hidden, weight, batch.targets, copy)

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> Tensor:
        """(num_supervised,), float32: the loss of each supervised token in nats."""
        weight = unwrap_model(self.model).get_output_embeddings().weight
        return token_nll(self.used_states(batch), weight, batch.targets)

    def used_states(
        self, batch: Batch, keep: Callable[[int, Tensor], None] | None = None
    ) -> Tensor:
        """(num_supervised, D): the hidden states from which supervised tokens are predicted.

        keep: Called with the index of each block and its queries, keys and values, if the forward
            pass is `padding_free`; see `attention_within_rows`.
        """
        model = unwrap_model(self.model)
        if self.forward_pass == "padding_free":
            drop = FastDropout(batch.input_ids.device)
            rows = RowBounds(batch.lengths, batch.row_starts.int())
            attend = attention_within_rows(rows, model.config.num_attention_heads, drop, keep)
            return self.family.hidden_states(
                model.base_model,
                batch.input_ids[0],
                batch.position_ids[0],
                attend,
                drop,
                batch.used,
                self.compiled,
            )
        # Padding is on the right, so the causal mask alone keeps real tokens from attending to it.
        mask = None if batch.row_ids is None else packed_mask(batch.row_ids, model.dtype)
        states = model.base_model(
            batch.input_ids,
            attention_mask=mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state  # (B, T, D)
        return states.flatten(0, 1).index_select(0, batch.used)


class SumCrossEntropy(torch.autograd.Function):
    """Cross-entropy of many positions over a large vocabulary, a piece of them at a time.

    The gradients are computed together with the loss, so that only one piece's logits are in memory
    at a time.
    """

    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, targets: Tensor, copy: Tensor | None = None
    ) -> Tensor:
        """Sum over the positions in nats, in float32 or better.

        Args:
            hidden: (num_supervised, D).
            weight: (vocab_size, D).
            targets: (num_supervised,).
            copy: (vocab_size or more, D), the weight in half precision, for the products; rows
                beyond the vocabulary are zeros. None: autocast makes its own.
        """
        precise = torch.promote_types(hidden.dtype, torch.float32)
        total = hidden.new_zeros((), dtype=precise)
        grad_hidden, grad_weight = torch.zeros_like(hidden), None
        factor = weight if copy is None else copy
        minus_one = hidden.new_full((1, 1), -1, dtype=precise)
        logit_rows = LOGIT_ROWS_ON_GPU if hidden.is_cuda else LOGIT_ROWS
        for start in range(0, len(targets), logit_rows):
            rows = slice(start, start + logit_rows)
            logits = F.linear(hidden[rows], factor)
            of_vocabulary = logits[:, : len(weight)]
            log_p = of_vocabulary.to(precise).log_softmax(-1)
            wanted = targets[rows, None]
            total -= log_p.gather(1, wanted).sum()
            if not any(ctx.needs_input_grad):
                continue
            grad_logits = log_p.exp_().scatter_add_(1, wanted, minus_one.expand_as(wanted))
            if grad_logits.shape != logits.shape or grad_logits.dtype != logits.dtype:
                of_vocabulary.copy_(grad_logits)
                grad_logits = logits  # where it exceeds the vocabulary, 0 as the rows of factor
            if ctx.needs_input_grad[0]:
                grad_hidden[rows] = grad_logits @ factor
            if ctx.needs_input_grad[1]:
                piece = sum_outer(grad_logits, hidden[rows].to(logits.dtype)).to(weight.dtype)
                grad_weight = piece if grad_weight is None else grad_weight.add_(piece)
        grad_weight = None if grad_weight is None else grad_weight[: len(weight)]
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor):
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(grad)
        return grad_hidden * grad, grad_weight, None, None


def sum_outer(grad_logits: Tensor, hidden: Tensor) -> Tensor:
    """(vocab_size, D): the sum over N positions of grad_logits (N, vocab_size), which are within
    -1 to 1, times hidden (N, D).

    On a GPU, sums of products in half precision are returned in float32, unrounded (torch 2.8).

    Elsewhere, a sum in float16, whose largest number is 65,504, would overflow before any loss
    scaler could prevent it. Hidden is scaled down by a power of 2 where it may be too large.
    """
    if hidden.is_cuda and HAS_FLOAT32_SUMS and hidden.dtype in HALF_PRECISION:
        return torch.mm(grad_logits.t(), hidden, out_dtype=torch.float32)
    if hidden.dtype != torch.float16:
        return grad_logits.t() @ hidden
    bound = hidden.abs().amax().float() * len(hidden)
    scale = torch.exp2((bound / HALF_OF_FLOAT16).log2().ceil().clamp(min=0))
    return (grad_logits.t() @ (hidden / scale).to(hidden.dtype)).float() * scale


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """(N,), float32: the loss in nats of each target (N,), given hidden states (N, D)."""
    pieces = zip(hidden.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True)
    nats = [
        F.cross_entropy(F.linear(states, weight).float(), wanted, reduction="none")
        for states, wanted in pieces
    ]
    return torch.cat(nats)


def packed_mask(row_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, T), added to attention scores: a token attends to its own row, up to itself.

    transformers can also infer from position ids where rows begin, but silently stops doing so when
    it is given a mask or a cache.
    """
    length = row_ids.shape[1]
    is_causal = torch.ones(length, length, dtype=torch.bool, device=row_ids.device).tril()
    return additive_mask((row_ids[:, :, None] == row_ids[:, None, :]) & is_causal, dtype)


def additive_mask(is_seen: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, T), added to attention scores: 0 where `is_seen` (B, T, T) is True.

    All other scores are lowered by float16's largest number, which stays finite in any type that
    autocast casts the mask to. float32's would become -inf, and a query that sees nothing NaN.
    """
    mask = torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device)
    return mask.masked_fill(~is_seen, torch.finfo(torch.float16).min)[:, None]


def unwrap_model(model: nn.Module) -> PreTrainedModel:
    """The Hugging Face model inside an adapter's wrapper, or the model itself."""
    return model if isinstance(model, PreTrainedModel) else model.get_base_model()
