"""CUDA settings, most of which only take effect before CUDA is initialized."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic as memory_filling

# The names under which PyTorch reads the settings of its CUDA allocator.
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def set_up_cuda(mixed_precision: str, *, deterministic: bool) -> None:
    """Apply settings before CUDA is initialized; environment variables set by the user take
    precedence.

    Args:
        mixed_precision: As in the recipe. With `no`, float32 products are exact; otherwise those
            that remain use TF32, whose 10-bit mantissa is still more precise than bf16.
        deterministic: Whether training will use `deterministic_algorithms`.
    """
    if sys.platform == "linux" and not any(name in os.environ for name in ALLOCATOR_VARIABLES):
        # Tensor sizes differ in every step, which would fragment segments that cannot grow.
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    if deterministic:  # otherwise, how cuBLAS splits a sum depends on what else is running
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # cuDNN's attention takes tens of milliseconds to plan each new row length.
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.set_float32_matmul_precision("highest" if mixed_precision == "no" else "high")


def cuda_precision(capability: tuple[int, int], has_bf16: bool) -> str:
    """The precision that the matrix units of a GPU compute in: bf16 from Ampere on (8.0), fp16 on
    Volta (7.0) and Turing. Older GPUs have none and emulate bf16 slowly."""
    if has_bf16:
        return "bf16"
    return "fp16" if capability >= (7, 0) else "no"


@contextmanager
def deterministic_algorithms(device: torch.device, *, enabled: bool) -> Iterator[None]:
    """Context in which CUDA kernels add in a fixed order. Has no effect on a CPU, whose kernels
    always do.

    Not meant for a whole run: sampling with top_p needs a cumulative sum, for which CUDA has no
    deterministic kernel.
    """
    if not enabled or device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), memory_filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory_filling.fill_uninitialized_memory = False  # no kernel here reads uninitialized memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory_filling.fill_uninitialized_memory = before[1]
