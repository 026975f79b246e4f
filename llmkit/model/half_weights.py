"""Weights in half precision, cast once per optimizer step instead of in every forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

VOCABULARY_MULTIPLE = 64  # of the rows of the output embedding: keeps reads on GPUs aligned
WEIGHTS_PER_GROUP = 8  # whose gradients are converted together: those of a block of GPT-2


class HalfWeights:
    """Half-precision copies of the weights of a model's linear layers.

    They equal the copies that autocast would make in each forward pass, so losses and gradients are
    bit-identical. A few kernels refresh all copies, or convert the gradients of a whole block.
    """

    def __init__(self, model: nn.Module, output: nn.Module, dtype: torch.dtype) -> None:
        """
        Args:
            output: The output embedding of the model.
            dtype: The dtype of autocast.
        """
        others = {output, *adapters_after_dropout(model)}
        layers = [
            layer
            for layer in model.modules()
            if isinstance(layer, (nn.Linear, Conv1D)) and layer not in others
        ]
        places = [
            (layer._parameters, name, weight)
            for layer in layers
            for name, weight in layer._parameters.items()
            if weight is not None
        ]
        self.places = sorted(places, key=lambda place: not place[2].requires_grad)
        """(the parameters of a layer, name, weight), the trained ones first."""
        weights = [weight for *_, weight in self.places]
        self.trained = [weight for weight in weights if weight.requires_grad]
        self.copies = [weight.detach().to(dtype) for weight in weights]
        self.output = output_copy(output.weight, dtype)
        """(vocab_size or more, D), for the loss; see `output_copy`."""
        self.refreshed = list(zip(self.copies, self.trained, strict=False))
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
        copies = list(self.copies)
        for start in range(0, len(self.trained), WEIGHTS_PER_GROUP):
            group = slice(start, min(start + WEIGHTS_PER_GROUP, len(self.trained)))
            copies[group] = _Copies.apply(copies[group], *self.trained[group])
        try:
            for (parameters, name, _), copy in zip(self.places, copies, strict=True):
                parameters[name] = copy
            yield
        finally:
            for parameters, name, weight in self.places:
                parameters[name] = weight


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
    """Connects the copies to their weights: converts the half-precision gradients of the copies to
    gradients of the weights."""

    @staticmethod
    def forward(ctx: Any, copies: list[Tensor], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtype = weights[0].dtype
        return tuple(copy.view_as(copy) for copy in copies)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found = [grad for grad in grads if grad is not None]
        converted = [torch.empty_like(grad, dtype=ctx.dtype) for grad in found]
        torch._foreach_copy_(converted, found)
        rest = iter(converted)
        return None, *(None if grad is None else next(rest) for grad in grads)
