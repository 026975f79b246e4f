"""Failures are told apart by the exceptions of the libraries."""

import numpy as np
import pytest
import torch

from llmkit.errors import OutOfMemory
from llmkit.runtime.failures import is_lost_connection, is_out_of_memory, memory_errors


def failing_allocation(allocate) -> Exception:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    return caught.value


def test_a_failed_allocation_is_out_of_memory():
    assert is_out_of_memory(failing_allocation(lambda: torch.empty(2**60)))
    assert is_out_of_memory(failing_allocation(lambda: np.empty(2**58)))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "MPS backend out of memory (MPS allocated: 8.9 GB)",
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory",
    ],
)
def test_failed_allocations_of_the_libraries_are_out_of_memory(text):
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text)), "a row may hold such a text"


def test_nccl_without_memory_is_no_lost_connection():
    error = type("DistBackendError", (RuntimeError,), {})("Cuda failure 2 'out of memory'")
    assert is_out_of_memory(error)
    assert not is_lost_connection(error)


def test_failed_allocations_are_explained_once():
    inner = memory_errors("saving", "end other programs", {"seed": "N"})
    with pytest.raises(OutOfMemory) as caught, memory_errors("outer", "end it"), inner:
        torch.empty(2**60)
    assert str(caught.value) == "saving: out of memory; end other programs"
    assert caught.value.changes == {"seed": "N"}
    with pytest.raises(RuntimeError, match="shape"), memory_errors("saving", "end it"):
        raise RuntimeError("shape mismatch")


def test_a_closed_connection_is_lost():
    assert is_lost_connection(RuntimeError("[../gloo/transport/tcp/pair.cc:534] closed by peer"))
    assert is_lost_connection(type("DistBackendError", (RuntimeError,), {})("NCCL error"))
    assert is_lost_connection(torch.distributed.DistNetworkError("Connection was likely closed"))
    assert not is_lost_connection(RuntimeError("shape mismatch"))
