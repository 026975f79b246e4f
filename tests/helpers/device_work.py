"""What a pass asks of a GPU, counted without one: kernels, host synchronizations, copies.

`DeviceWork` counts the operations that a forward and backward pass dispatches, on any device. Each
counts as one kernel, except for views and allocations, which launch none. `gpu_path` has the code
take its path for CUDA on a CPU, where its arithmetic can be checked, or on the meta device.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmkit.families.padding_free import FastDropout

TENSORS_PER_KERNEL = 64  # of pairs of tensors, in PyTorch's MultiTensorApply.cuh
aten = torch.ops.aten
# Operations whose result the host has to wait for, as its shape or value depends on the data.
SYNCHRONIZING = {
    aten._local_scalar_dense, aten.nonzero, aten.unique_consecutive, aten._unique, aten._unique2,
    aten.unique_dim, aten.masked_select, aten.equal, aten.bincount, aten.repeat_interleave,
}  # fmt: skip
ALLOCATIONS = {
    aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided,
    aten.detach, aten.lift_fresh, aten._unsafe_view, aten._reshape_alias, aten.is_pinned,
    aten.resize_, aten.set_, aten.record_stream,
}  # fmt: skip
COPIES = {aten._to_copy, aten.copy_, aten._pin_memory}


class DeviceWork(TorchDispatchMode):
    """Counts the work of the operations in its context, by the name of the operation.

    On the meta device, which computes nothing, every value that the host reads is 1.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.kernels: Counter[str] = Counter()
        self.synchronizations: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        inputs = {t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        packet, name = func.overloadpacket, str(func.overloadpacket)
        if packet is aten._local_scalar_dense and self.device == "meta" and "meta" in inputs:
            self.synchronizations[name] += 1
            return 1.0 if args[0].is_floating_point() else 1
        result = func(*args, **(kwargs or {}))
        outputs = {t.device.type for t in tree_leaves(result) if isinstance(t, Tensor)}
        if self.device not in inputs | outputs:
            return result
        if packet in COPIES and inputs | outputs != {self.device}:
            target = args[0].device.type if packet is aten.copy_ else result.device.type
            (self.uploads if target == self.device else self.synchronizations)[name] += 1
        elif packet in SYNCHRONIZING or (packet is aten.index and has_mask(args[1])):
            self.synchronizations[name] += 1
        elif not func.is_view and packet not in ALLOCATIONS:
            self.kernels[name] += num_launches(args)
        return result


def num_launches(args: tuple) -> int:
    """Kernels of an operation: those on lists take at most TENSORS_PER_KERNEL tensors at a time."""
    is_list = bool(args) and isinstance(args[0], list)
    return math.ceil(len(args[0]) / TENSORS_PER_KERNEL) if is_list else 1


def has_mask(indices: list[Tensor | None]) -> bool:
    """Whether a tensor is indexed by booleans, so that the shape of the result is unknown."""
    return any(index is not None and index.dtype == torch.bool for index in indices)


def _weights(q: Tensor, k: Tensor) -> Tensor:
    """(num_heads, T, T): causal attention weights of a row, from q and k (T, num_heads, D)."""
    scores = q.transpose(0, 1).float() @ k.permute(1, 2, 0).float() * q.shape[-1] ** -0.5
    is_seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return scores.masked_fill(~is_seen, -torch.inf).softmax(-1)


def _forward(q, k, v, starts, key_starts, longest, longest_key, dropout, is_causal, debug, **_):
    assert (is_causal, dropout, debug) == (True, 0, False)
    assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1, "as the CUDA kernel requires"
    assert starts.dtype == torch.int32
    assert torch.equal(starts, key_starts)
    assert longest == longest_key == starts.diff().max()
    out = torch.empty(q.shape, dtype=q.dtype)
    for start, end in pairwise(starts.tolist()):
        weights = _weights(q[start:end], k[start:end])
        out[start:end] = (weights @ v[start:end].transpose(0, 1).float()).transpose(0, 1)
    empty = q.new_empty(0)
    return out, empty, empty, empty, empty


def _backward(grad, q, k, v, out, lse, starts, *_, **__):
    grads = [torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v)]
    for start, end in pairwise(starts.tolist()):
        row = slice(start, end)
        q_row, k_row, v_row, grad_row = (x[row].transpose(0, 1).float() for x in (q, k, v, grad))
        weights = _weights(q[row], k[row])
        of_weights = grad_row @ v_row.mT
        of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True))
        of_scores *= q.shape[-1] ** -0.5
        for x, of_row in zip(
            grads, (of_scores @ k_row, of_scores.mT @ q_row, weights.mT @ grad_row), strict=True
        ):
            x[row] = of_row.transpose(0, 1)
    return tuple(grads)


def _product(a, b, out_dtype):
    return a.to(out_dtype) @ b.to(out_dtype)


def _dropout(layer, x):
    """Dropout as on CUDA: one operation."""
    return torch.native_dropout(x, layer.p, True)[0] if layer.training and layer.p else x


@contextmanager
def gpu_path() -> Iterator[None]:
    """Context in which the code takes its path for CUDA, with tensors of any device.

    A CPU gets the operations that this path calls and only CUDA has, as plain arithmetic.
    """
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", _forward, "CPU")
    library.impl("_flash_attention_backward", _backward, "CPU")
    library.impl("mm.dtype", _product, "CPU")
    init = FastDropout.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cuda", property(lambda _: True))
        patch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
        patch.setattr(FastDropout, "__init__", lambda self, _: init(self, torch.device("cuda")))
        patch.setattr(nn.Dropout, "forward", _dropout)
        yield
    library._destroy()
