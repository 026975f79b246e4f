"""The products of a training, counted: FLOP of a micro-batch, from the shape of the model.

Two FLOP for each weight and token that passes through it, and two more for each product of the
backward pass: one for the gradient of the input, one for that of the weight (Kaplan et al. 2020,
arXiv 2001.08361, appendix B).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from llmkit.families import family_of
from llmkit.model.loss import unwrap_model
from llmkit.training.memory import count_trained_blocks

# Shares of a block's weights, of which there are 12 * width^2 in its four products.
FIRST_PRODUCT = 1 / 4
COMPUTED_AGAIN = 2 / 3  # for the backward pass: its last product is not needed there


@dataclass(frozen=True)
class Work:
    """FLOP of a pass over rows, by what it grows with."""

    per_token: float
    per_pair: float
    """For each pair of a token and one that it attends to."""
    per_supervised: float

    def of(self, amounts: "Amounts") -> float:
        """FLOP of a pass over these rows."""
        return (
            self.per_token * amounts.tokens
            + self.per_pair * amounts.pairs
            + self.per_supervised * amounts.supervised
        )


@dataclass(frozen=True)
class Amounts:
    """What the work of rows grows with."""

    tokens: float
    pairs: float
    """Of a token and one of the same row that it attends to, itself included."""
    supervised: float

    @classmethod
    def of_rows(cls, lengths: Iterable[int], num_supervised: int) -> "Amounts":
        tokens = pairs = 0
        for length in lengths:
            tokens += length
            pairs += length * (length + 1) // 2
        return cls(tokens, pairs, num_supervised)


def forward_work(model: nn.Module) -> Work:
    """The work of a forward pass, as in an evaluation."""
    bare = unwrap_model(model)
    blocks = family_of(bare.config).blocks(bare)
    head = bare.get_output_embeddings().weight
    width, num_blocks = bare.config.hidden_size, bare.config.num_hidden_layers
    return Work(2 * _matrices(blocks), 4 * width * num_blocks, 2 * head.numel())


def training_work(model: nn.Module, *, checkpointing: bool) -> Work:
    """The work of a forward and a backward pass.

    Args:
        model: With its adapters and frozen layers.
        checkpointing: Whether blocks are computed again for the backward pass.
    """
    bare = unwrap_model(model)
    forward = forward_work(model)
    blocks = family_of(bare.config).blocks(bare)
    lowest = [*family_of(bare.config).embeddings(bare)]
    has_trained_input = any(w.requires_grad for module in lowest for w in module.parameters())
    # Blocks through which a gradient flows, the lowest up to its first product.
    through = count_trained_blocks(model) - FIRST_PRODUCT * (not has_trained_input)
    share = through / len(blocks)
    again = share * COMPUTED_AGAIN * checkpointing
    trained = _matrices(blocks, only_trained=True)
    head = bare.get_output_embeddings().weight
    return Work(
        forward.per_token * (1 + share + again) + 2 * trained,
        forward.per_pair * (1 + 2 * share + again / COMPUTED_AGAIN),
        forward.per_supervised * (2 + head.requires_grad),
    )


def _matrices(module: nn.Module, *, only_trained: bool = False) -> int:
    """Number of weights in matrices."""
    return sum(
        weight.numel()
        for weight in module.parameters()
        if weight.ndim >= 2 and (weight.requires_grad or not only_trained)
    )
