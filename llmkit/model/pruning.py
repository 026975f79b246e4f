"""Remove weights: whole blocks and neurons of the MLPs, or single weights, which become 0."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmkit.config.schema import Forward
from llmkit.data.batches import Batch
from llmkit.errors import UserError
from llmkit.families import family_of
from llmkit.model.load import evaluating
from llmkit.model.loss import SupervisedLoss

WIDTH_MULTIPLE = 8  # the width of an MLP stays a multiple of this, for fast products


class Shape(NamedTuple):
    """What is left of a model."""

    num_blocks: int
    inner_size: int
    """Width of the hidden layer of each MLP."""


def pruned_shape(model: PreTrainedModel, share: float) -> Shape:
    """The shape of a model after removing a share of the weights of its blocks: whole blocks are
    removed as far as the share reaches, and all MLPs are narrowed for the remainder.

    Raises UserError if the MLPs have too few weights for the remainder, or if nothing is removed.
    """
    family, config = family_of(model.config), model.config
    blocks, inner_size = family.blocks(model), family.inner_size(model.config)
    block_weights = sum(weight.numel() for weight in blocks[0].parameters())
    neuron_weights = 2 * config.hidden_size + 1  # what it reads, what it writes, and a bias
    num_removed = int(share * len(blocks) + 1e-9)
    num_blocks = len(blocks) - num_removed
    rest = (share * len(blocks) - num_removed) * block_weights / num_blocks
    inner_size -= rest / neuron_weights
    inner_size = WIDTH_MULTIPLE * round(inner_size / WIDTH_MULTIPLE)
    if inner_size < WIDTH_MULTIPLE:
        raise UserError(
            f"--share {share:g}: with {num_blocks} of {len(blocks)} blocks, the MLPs have too few "
            "weights to remove the rest; lower it"
        )
    if not num_removed and inner_size >= family.inner_size(config):
        raise UserError(
            f"--share {share:g}: removes nothing, since the width of the MLPs stays a multiple of "
            f"{WIDTH_MULTIPLE}; raise it"
        )
    return Shape(num_blocks, inner_size)


def prune_structured(
    model: PreTrainedModel, share: float, forward: Forward, batches: Sequence[Batch]
) -> None:
    """Remove a share of the weights of the blocks, in place; see `pruned_shape`.

    Blocks are removed one by one, each time the one whose removal gives the lowest loss (Song et
    al. 2024, arXiv 2402.09025). The MLPs keep the neurons whose removal would change the loss most,
    to first order (Molchanov et al. 2019, arXiv 1906.10771).

    Args:
        forward: The forward pass that computes the loss.
        batches: Training rows.
    """
    shape = pruned_shape(model, share)
    family, loss = family_of(model.config), SupervisedLoss(model, forward)
    with evaluating(model):
        while len(family.blocks(model)) > shape.num_blocks:
            remove_block(model, loss, batches)
        if shape.inner_size < family.inner_size(model.config):
            importance = neuron_importance(model, loss, batches)
            kept = [each.topk(shape.inner_size).indices.sort().values for each in importance]
            family.keep_neurons(model, kept)


def remove_block(model: PreTrainedModel, loss: SupervisedLoss, batches: Sequence[Batch]) -> None:
    """Remove the block whose removal gives the lowest loss on the batches."""
    family = family_of(model.config)
    blocks = list(family.blocks(model))
    candidates = [blocks[:index] + blocks[index + 1 :] for index in range(len(blocks))]

    def loss_with(others: list[nn.Module]) -> float:
        family.set_blocks(model, others)
        with torch.no_grad():
            return sum(loss(batch.to(model.device)).item() for batch in batches)

    losses = [loss_with(others) for others in candidates]
    family.set_blocks(model, candidates[losses.index(min(losses))])


def neuron_importance(
    model: PreTrainedModel, loss: SupervisedLoss, batches: Sequence[Batch]
) -> list[Tensor]:
    """For each block, the estimated change of the loss if a neuron were removed, (inner_size,): the
    first-order term, in absolute value, summed over the batches."""
    family = family_of(model.config)
    blocks = family.blocks(model)
    total = [torch.zeros((), device=model.device)] * len(blocks)
    for batch in batches:
        loss(batch.to(model.device)).backward()
        total = [
            before + family.neuron_gates(block).abs()
            for before, block in zip(total, blocks, strict=True)
        ]
        model.zero_grad(set_to_none=True)
    return total


def prune_magnitude(model: PreTrainedModel, share: float) -> None:
    """Set the smallest weights of each linear layer in the blocks to 0, in place (Han et al. 2015,
    arXiv 1506.02626).

    share: Fraction of the weights of each layer.
    """
    for block in family_of(model.config).blocks(model):
        for layer in block.modules():
            if isinstance(layer, (nn.Linear, Conv1D)):
                prune.l1_unstructured(layer, "weight", amount=share)
                prune.remove(layer, "weight")  # keeps the zeros, not the mask
