"""Parts of a forward pass under torch.compile, compiled once for any number of tokens."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from llmkit.errors import UserError

Part = Callable[..., Tensor]
"""A part of the forward pass without padding: tensors whose first dimension is the tokens, then
modules -> a tensor."""
Compiler = Callable[[Part], Part]
"""A part -> one that computes the same."""


def as_it_is(part: Part) -> Part:
    """The Compiler that compiles nothing."""
    return part


class CompiledParts:
    """The Compiler that compiles each part once, for any number of tokens and all blocks."""

    def __init__(self, backend: Any = "inductor") -> None:
        self.backend = backend
        self.compiled: dict[Part, Part] = {}

    def __call__(self, part: Part) -> Part:
        if part not in self.compiled:
            self.compiled[part] = torch.compile(part, backend=self.backend)
        compiled = self.compiled[part]

        def run(*arguments: Any) -> Tensor:
            tensors = [each for each in arguments if isinstance(each, Tensor)]
            if any(len(tensor) < 2 for tensor in tensors):
                return part(*arguments)  # torch.compile takes sizes of 0 and 1 for constants
            for tensor in tensors:
                torch._dynamo.mark_dynamic(tensor, 0)
            return compiled(*arguments)

        return run


def require_compiler() -> None:
    """Raise UserError if torch.compile cannot compile for the GPU of this machine."""
    if not has_triton():
        raise UserError(
            "train.compile: torch.compile needs Triton and a GPU that it supports; "
            "set train.compile=false"
        )
