"""Recognizing kinds of failures from the exceptions of the libraries."""

import torch


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an allocation failed: on a GPU, or on a CPU in torch or NumPy (dropout's bits)."""
    is_ours = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_ours or "can't allocate memory" in str(error)


def is_lost_connection(error: Exception) -> bool:
    """Whether another process of the run has ended: in torch, NCCL raises a DistBackendError, gloo
    a plain RuntimeError."""
    return type(error).__name__ == "DistBackendError" or "gloo" in str(error)
