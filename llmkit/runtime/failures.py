"""Classifying failures by the exceptions of the libraries."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from llmkit.errors import OutOfMemory

ALLOCATION_ERRORS = (
    "can't allocate memory",  # a CPU
    "not enough memory",  # a CPU, on Windows
    "out of memory",  # CUDA's runtime, NCCL, Apple's GPUs
    "CUBLAS_STATUS_ALLOC_FAILED",  # cuBLAS, whose workspace comes first on a device
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed: on a GPU, or on a CPU in torch or NumPy (dropout masks)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    is_of_library = isinstance(error, RuntimeError)
    return is_of_library and any(text in str(error) for text in ALLOCATION_ERRORS)


@contextmanager
def memory_errors(
    activity: str, advice: str, changes: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Convert a failed allocation in the `with` block to OutOfMemory with a one-line message.

    Args:
        activity: What needs the memory; the start of the message.
        advice: What to do; the end of the message.
        changes: See OutOfMemory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{activity}: out of memory; {advice}", changes) from None


def is_lost_connection(error: Exception) -> bool:
    """Whether the error shows that another process of the run has exited: NCCL raises a
    DistBackendError, the store of the first process a DistNetworkError, and gloo a RuntimeError."""
    if is_out_of_memory(error):  # which NCCL also reports as a DistBackendError
        return False
    names = ("DistBackendError", "DistNetworkError", "DistStoreError")
    return type(error).__name__ in names or "gloo" in str(error)
