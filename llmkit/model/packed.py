"""Linear layers whose weights are packed for products with few rows, as generation needs them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmkit.runtime.memory import available_bytes

MEMORY_FRACTION = 0.5  # fraction of the free memory for packed copies of the weights
MIN_BYTES = 2**25  # of all weights; smaller models stay in the processor's caches
PACKED_BATCH_ROWS = 32  # oneDNN chooses the layout of the weights for about this many rows


@contextmanager
def packed_linear_layers(
    model: PreTrainedModel, dtype: torch.dtype, *, enabled: bool = True
) -> Iterator[None]:
    """Context in which the linear layers of a model on a CPU use packed copies of their weights.

    torch's own products repack or stride through the weights at each call, which takes several
    times longer than the arithmetic if the input has fewer than about 100 rows. Results differ by
    rounding only. The weights must not change inside the block. Small models, models on other
    devices and models whose copies would not fit into memory are unchanged.

    Args:
        dtype: dtype of the packed weights; see `generation_dtype`.
        enabled: False leaves the model as it is.
    """
    layers = [layer for layer in model.modules() if is_packable(layer)]
    num_bytes = sum(layer.weight.numel() * dtype.itemsize for layer in layers)
    pays = MIN_BYTES <= num_bytes < MEMORY_FRACTION * available_bytes(torch.device("cpu"))
    if not (enabled and pays and model.device.type == "cpu" and is_supported(dtype)):
        layers = []
    try:
        for layer in layers:
            layer.forward = PackedProduct(layer, dtype)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


@contextmanager
def unpacked_linear_layers(model: PreTrainedModel) -> Iterator[None]:
    """Context inside `packed_linear_layers` in which all layers compute with their own weights, so
    that results do not depend on whether packed copies fit into memory."""
    packed = {
        layer: layer.__dict__.pop("forward")
        for layer in model.modules()
        if isinstance(layer.__dict__.get("forward"), PackedProduct)
    }
    try:
        yield
    finally:
        for layer, forward in packed.items():
            layer.forward = forward


def generation_dtype(model: PreTrainedModel) -> torch.dtype:
    """dtype of products in generation: that of autocast where it is enabled, else the model's."""
    device = model.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else model.dtype


def is_supported(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def is_packable(layer: nn.Module) -> bool:
    is_linear = type(layer) in (nn.Linear, Conv1D) and "forward" not in layer.__dict__
    return is_linear and layer.weight.dtype in (torch.float32, torch.bfloat16)


class PackedProduct:
    """The forward pass of a linear layer, with oneDNN's packed copy of its weight."""

    def __init__(self, layer: nn.Linear | Conv1D, dtype: torch.dtype) -> None:
        weight = layer.weight.detach()
        if isinstance(layer, Conv1D):  # (in, out)
            weight = weight.t()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(
            weight.to(dtype).contiguous(), PACKED_BATCH_ROWS
        )
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """x: (..., in); returns (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(
            x.to(self.weight.dtype), self.weight, self.bias, "none", [], ""
        )
