"""Weights in half precision, cast once per optimizer step instead of in every forward pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

GROUP_WEIGHTS = 2**23  # weights per group of added gradients: a block of GPT-2, or all adapters
VOCABULARY_MULTIPLE = 64  # pads the rows of the output embedding, to keep reads on GPUs aligned


class HalfWeights:
    """Half-precision copies of the weights of a model's linear layers.

    They equal the copies that autocast would make in each forward pass, so losses and gradients are
    bit-identical. A few kernels refresh all copies, and one or two add the gradients of a block, or
    of all adapters, to those of earlier micro-batches.
    """

    def __init__(
        self, model: nn.Module, blocks: Iterable[nn.Module], output: nn.Module, dtype: torch.dtype
    ) -> None:
        """
        Args:
            blocks: The transformer blocks of the model.
            output: The output embedding of the model.
            dtype: The dtype of autocast.
        """
        others = {output, *adapters_after_dropout(model)}
        copied = {
            layer
            for layer in model.modules()
            if isinstance(layer, (nn.Linear, Conv1D)) and layer not in others
        }
        self.groups = grouped([
            [_Place.of(layer, name, dtype if layer in copied else weight.dtype)
             for layer in block.modules()
             for name, weight in layer.named_parameters(recurse=False)
             if layer in copied or weight.requires_grad]
            for block in blocks
        ])  # fmt: skip
        """The weights of the blocks that are copied or trained; see `grouped`."""
        self.output = output_copy(output.weight, dtype)
        """(vocab_size or more, D), for the loss; see `output_copy`."""
        self.refreshed = [
            (place.copy, place.weight)
            for group in self.groups
            for place in group
            if place.weight.requires_grad and place.copy.dtype != place.weight.dtype
        ]
        if output.weight.requires_grad:
            self.refreshed.append((self.output[: len(output.weight)], output.weight))

    def refresh(self) -> None:
        """Update the copies of the trained weights; the frozen ones never change."""
        if self.refreshed:
            copies, weights = zip(*self.refreshed, strict=True)
            with torch.no_grad():
                torch._foreach_copy_(copies, weights)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Context in which the layers compute with the copies; their gradients are passed on to the
        weights."""
        places = [place for group in self.groups for place in group]
        copies = [copy for group in self.groups for copy in connected_copies(group)]
        try:
            for place, copy in zip(places, copies, strict=True):
                place.parameters[place.name] = copy
            yield
        finally:
            for place in places:
                place.parameters[place.name] = place.weight


class _Place(NamedTuple):
    """A weight of a layer."""

    parameters: dict[str, nn.Parameter | None]
    """Parameters of the layer by name."""
    name: str
    weight: nn.Parameter
    copy: Tensor
    """The weight in half precision, or itself."""

    @classmethod
    def of(cls, layer: nn.Module, name: str, dtype: torch.dtype) -> "_Place":
        weight = layer._parameters[name]
        return cls(layer._parameters, name, weight, weight.detach().to(dtype))


def grouped(blocks: list[list[_Place]]) -> list[list[_Place]]:
    """The weights of the blocks, those of neighbors joined as long as few of them are trained."""
    groups: list[list[_Place]] = []
    for block in blocks:
        if groups and num_trained(groups[-1]) + num_trained(block) <= GROUP_WEIGHTS:
            groups[-1] += block
        else:
            groups.append(list(block))
    return groups


def num_trained(places: list[_Place]) -> int:
    return sum(place.weight.numel() for place in places if place.weight.requires_grad)


def connected_copies(group: list[_Place]) -> list[Tensor]:
    """The copies of the weights of a group, with those of the trained ones connected to them."""
    trained = [place for place in group if place.weight.requires_grad]
    if not trained:
        return [place.copy for place in group]
    connected = iter(_Copies.apply([each.copy for each in trained], *(e.weight for e in trained)))
    return [next(connected) if each.weight.requires_grad else each.copy for each in group]


def adapters_after_dropout(model: nn.Module) -> list[nn.Module]:
    """The adapter layers that follow a dropout. peft converts the input of the dropout to the dtype
    of their weights, which decides how it draws and rounds."""
    return [
        layer.lora_A[name]
        for layer in model.modules()
        for name, dropout in getattr(layer, "lora_dropout", {}).items()
        if isinstance(dropout, nn.Dropout)
    ]


def output_copy(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of the output embedding (vocab_size, D). On a GPU, rows of zeros are appended up to a
    multiple of VOCABULARY_MULTIPLE, because products with an odd number of rows are slow there."""
    if not weight.is_cuda:
        return weight.detach().to(dtype)
    return padded(weight.detach().to(dtype))


def padded(weight: Tensor) -> Tensor:
    """weight (vocab_size, D) with rows of zeros up to a multiple of VOCABULARY_MULTIPLE."""
    return F.pad(weight, (0, 0, 0, -len(weight) % VOCABULARY_MULTIPLE))


class _Copies(torch.autograd.Function):
    """Connects the copies of a group to their weights: adds the gradients of the copies to those of
    the weights, all of them together. Autograd would add them one by one."""

    @staticmethod
    def forward(ctx: Any, copies: list[Tensor], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.weights = weights
        return tuple(copy.view_as(copy) for copy in copies)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[None, ...]:
        found = [(w, g) for w, g in zip(ctx.weights, grads, strict=True) if g is not None]
        add_gradients(*map(list, zip(*found, strict=True)))
        return None, *(None for _ in grads)


def add_gradients(weights: list[Tensor], gradients: list[Tensor]) -> None:
    """Add gradients, in any precision, to those that the weights have.

    gradients: Become those of weights that have none.
    """
    gradients = in_dtype_of(weights, gradients)
    pairs = list(zip(weights, gradients, strict=True))
    earlier = [(weight.grad, gradient) for weight, gradient in pairs if weight.grad is not None]
    for weight, gradient in pairs:
        if weight.grad is None:
            weight.grad = gradient
    if earlier:
        torch._foreach_add_(*map(list, zip(*earlier, strict=True)))


def in_dtype_of(weights: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
    """The gradients, each in the dtype and layout of its weight."""
    converted = [
        gradient if gradient.dtype == weight.dtype else torch.empty_like(weight)
        for weight, gradient in zip(weights, gradients, strict=True)
    ]
    pairs = [(new, old) for new, old in zip(converted, gradients, strict=True) if new is not old]
    if pairs:
        torch._foreach_copy_(*map(list, zip(*pairs, strict=True)))
    return converted
