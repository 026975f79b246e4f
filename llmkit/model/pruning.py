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

MULTIPLE = 8  # of which the width of an MLP stays a multiple, for fast products


class Shape(NamedTuple):
    """What is left of a model."""

    num_blocks: int
    inner_size: int
    """Width of the hidden layer of each MLP."""


def pruned_shape(model: PreTrainedModel, share: float) -> Shape:
    """The shape that leaves a model without this share of the weights of its blocks: as many whole
    blocks less as the share contains, and narrower MLPs for the rest of it.

    Raises UserError if the MLPs have fewer weights than that.
    """
    family, config = family_of(model.config), model.config
    blocks, inner_size = family.blocks(model), family.inner_size(model.config)
    block_weights = sum(weight.numel() for weight in blocks[0].parameters())
    neuron_weights = 2 * config.hidden_size + 1  # what it reads, what it writes, and a bias
    num_removed = int(share * len(blocks) + 1e-9)
    num_blocks = len(blocks) - num_removed
    rest = (share * len(blocks) - num_removed) * block_weights / num_blocks
    inner_size = MULTIPLE * round((inner_size - rest / neuron_weights) / MULTIPLE)
    if inner_size < MULTIPLE:
        raise UserError(
            f"--share {share:g}: with {num_blocks} of {len(blocks)} blocks, the MLPs have too few "
            "weights to remove the rest; lower it"
        )
    return Shape(num_blocks, inner_size)


def prune_structured(
    model: PreTrainedModel, share: float, forward: Forward, batches: Sequence[Batch]
) -> None:
    """Remove a share of the weights of the blocks, in place; see `pruned_shape`.

    Blocks are removed one by one, each time the one without which the loss is lowest (Song et al.
    2024). The neurons that stay are those without which the loss would change most, to first order
    (Molchanov et al. 2019).

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
    """Remove the block without which the loss on the batches is lowest."""
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
    """The first-order change of the loss without each neuron (inner,), for each block: absolute,
    and summed over the batches."""
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
    """Set to 0, in place, the share of the weights of each linear layer in the blocks that are
    smallest in magnitude (Han et al. 2015)."""
    for block in family_of(model.config).blocks(model):
        for layer in block.modules():
            if isinstance(layer, (nn.Linear, Conv1D)):
                prune.l1_unstructured(layer, "weight", amount=share)
                prune.remove(layer, "weight")  # keeps the zeros, not the mask
