"""Count the FLOPs of the matrix products in training, from the shape of the model.

The forward pass takes two FLOPs per weight and token. The backward pass takes two more for the
gradient of the input and two for the gradient of the weight (Kaplan et al. 2020, arXiv 2001.08361,
appendix B).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from llmkit.families import family_of
from llmkit.model.loss import unwrap_model
from llmkit.training.memory import count_trained_blocks

# Shares of the 12 * width^2 weights in the four matrix products of a block.
FIRST_PRODUCT = 1 / 4
RECOMPUTED = 2 / 3  # by activation checkpointing: all products except the last


@dataclass(frozen=True)
class Flops:
    """FLOPs of a pass over rows, per unit of their size."""

    per_token: float
    per_pair: float
    """FLOPs per pair of a token and a token that it attends to."""
    per_supervised: float
    """FLOPs per supervised token, for its logits."""

    def total(self, workload: "Workload") -> float:
        """FLOPs of a pass over rows of this size."""
        return (
            self.per_token * workload.tokens
            + self.per_pair * workload.pairs
            + self.per_supervised * workload.supervised
        )


@dataclass(frozen=True)
class Workload:
    """Size of rows, in the units that determine the FLOPs of a pass over them."""

    tokens: float
    pairs: float
    """Number of pairs of a token and a token that it attends to, itself included."""
    supervised: float
    """Number of supervised tokens."""

    @classmethod
    def of_rows(cls, lengths: Iterable[int], num_supervised: int) -> "Workload":
        """The size of rows of these lengths in tokens."""
        tokens = pairs = 0
        for length in lengths:
            tokens += length
            pairs += length * (length + 1) // 2
        return cls(tokens, pairs, num_supervised)


def forward_flops(model: nn.Module) -> Flops:
    """Count the FLOPs of a forward pass, as in an evaluation."""
    unwrapped = unwrap_model(model)
    blocks = family_of(unwrapped.config).blocks(unwrapped)
    head = unwrapped.get_output_embeddings().weight
    width, num_blocks = unwrapped.config.hidden_size, unwrapped.config.num_hidden_layers
    return Flops(2 * _matrices(blocks), 4 * width * num_blocks, 2 * head.numel())


def training_flops(model: nn.Module, *, checkpointing: bool) -> Flops:
    """Count the FLOPs of a forward and a backward pass.

    Args:
        model: The model with its adapters and frozen layers.
        checkpointing: Whether activation checkpointing recomputes the blocks.
    """
    unwrapped = unwrap_model(model)
    forward = forward_flops(model)
    blocks = family_of(unwrapped.config).blocks(unwrapped)
    lowest = [*family_of(unwrapped.config).embeddings(unwrapped)]
    has_trained_input = any(w.requires_grad for module in lowest for w in module.parameters())
    # The gradient flows through the lowest trained block down to its first product.
    with_gradient = count_trained_blocks(model) - FIRST_PRODUCT * (not has_trained_input)
    share = with_gradient / len(blocks)
    recomputed = share * RECOMPUTED * checkpointing
    trained = _matrices(blocks, only_trained=True)
    head = unwrapped.get_output_embeddings().weight
    return Flops(
        forward.per_token * (1 + share + recomputed) + 2 * trained,
        forward.per_pair * (1 + 2 * share + recomputed / RECOMPUTED),
        forward.per_supervised * (2 + head.requires_grad),
    )


def _matrices(module: nn.Module, *, only_trained: bool = False) -> int:
    """Number of weights in the matrices of a module."""
    return sum(
        weight.numel()
        for weight in module.parameters()
        if weight.ndim >= 2 and (weight.requires_grad or not only_trained)
    )
