"""Memory of tensors, counted instead of measured: on any device, `meta` included."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are allocated while the mode is active.

    Not those that NumPy allocates, nor what a single operation of PyTorch allocates inside.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        inputs = {
            each.untyped_storage()._cdata
            for each in tree_leaves((args, kwargs))
            if isinstance(each, torch.Tensor)
        }
        results = function(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, torch.Tensor):
                self.add(result.untyped_storage(), inputs)
        return results

    def add(self, storage: torch.UntypedStorage, inputs: set[int]) -> None:
        key = storage._cdata
        if key in self.known or key in inputs:
            return
        self.known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.remove, key, storage.nbytes())

    def remove(self, key: int, num_bytes: int) -> None:
        self.known.discard(key)
        self.now -= num_bytes


def peak_bytes(compute: Callable[[], Any]) -> int:
    """The most bytes that tensors take at once while `compute` runs, beyond those before it."""
    with PeakBytes() as counted:
        compute()
    return counted.peak
