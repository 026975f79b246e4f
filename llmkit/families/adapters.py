"""Linear layers with low-rank adapters (Hu et al. 2021), in few operations.

Weights and adapters are those of peft's layers, whose own forward pass is the reference.
"""

from typing import Any

import torch
from torch import Tensor, nn


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """The output (N, out) of a linear layer for x (N, in), including that of its adapter.

    A trained adapter takes half of the operations that it takes in peft's layer. The layer itself
    computes everything else: without an adapter, without a gradient, and with dropout of the
    adapter's input.
    """
    name = trained_adapter(layer) if torch.is_grad_enabled() else None
    if name is None:
        return layer(x)
    base = layer.base_layer
    weight = base.weight if layer.fan_in_fan_out else base.weight.t()
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return AdaptedLinear.apply(x, weight, base.bias, a, b, layer.scaling[name])


def trained_adapter(layer: nn.Module) -> str | None:
    """The name of the only adapter that a layer of peft computes with; None if `linear` has to
    leave it to the layer."""
    if not hasattr(layer, "lora_A") or layer.merged or layer.disable_adapters:
        return None
    names = layer.active_adapters
    if len(names) != 1 or isinstance(layer.lora_dropout[names[0]], nn.Dropout):
        return None
    is_frozen = not (layer.base_layer.weight.requires_grad or layer.base_layer.bias.requires_grad)
    return names[0] if is_frozen else None


class AdaptedLinear(torch.autograd.Function):
    """A frozen linear layer and its adapter, in the precision of autocast."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """x @ weight + bias + scale * (x @ a.T) @ b.T, of shape (N, out).

        Args:
            x: (N, in).
            weight: (in, out).
            bias: (out,).
            a: (rank, in).
            b: (out, rank).
        """
        ctx.dtypes, ctx.scale = (x.dtype, a.dtype, b.dtype), scale
        x, weight, bias, a, b = in_dtype_of_products(x, weight, bias, a, b)
        low_rank = x @ a.t()
        ctx.save_for_backward(x, weight, a, b, low_rank)
        return torch.addmm(bias, x, weight).addmm_(low_rank, b.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, low_rank = ctx.saved_tensors
        grad_low_rank = grad @ b  # without the scale
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight.t()).addmm_(grad_low_rank, a, alpha=ctx.scale)
            grad_x = grad_x.to(ctx.dtypes[0])
        grad_a = scaled_product(grad_low_rank.t(), x, ctx.scale).to(ctx.dtypes[1])
        grad_b = scaled_product(grad.t(), low_rank, ctx.scale).to(ctx.dtypes[2])
        return grad_x, None, None, grad_a, grad_b, None


def in_dtype_of_products(*tensors: Tensor) -> list[Tensor]:
    """Tensors in the dtype of autocast where it is enabled, else as they are."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]


def scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """scale * left @ right, in one operation."""
    ignored = left.new_empty(())
    return torch.addmm(ignored, left, right, beta=0, alpha=scale)
