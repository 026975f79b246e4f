"""What an exception of the libraries means for a run."""

import torch


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an allocation failed: on a GPU, or on a CPU by torch or, of dropout's bits, NumPy."""
    is_ours = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_ours or "can't allocate memory" in str(error)


def is_lost_connection(error: Exception) -> bool:
    """Whether it came of another process of this run, which is gone: torch's NCCL names its
    exception so, its gloo has a plain RuntimeError."""
    return type(error).__name__ == "DistBackendError" or "gloo" in str(error)
