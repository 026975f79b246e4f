"""Failures are told apart by the exceptions of the libraries."""

import numpy as np
import pytest
import torch

from llmkit.runtime.failures import is_lost_connection, is_out_of_memory


def failing_allocation(allocate) -> Exception:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    return caught.value


def test_a_failed_allocation_is_out_of_memory():
    assert is_out_of_memory(failing_allocation(lambda: torch.empty(2**60)))
    assert is_out_of_memory(failing_allocation(lambda: np.empty(2**58)))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_a_closed_connection_is_lost():
    assert is_lost_connection(RuntimeError("[../gloo/transport/tcp/pair.cc:534] closed by peer"))
    assert is_lost_connection(type("DistBackendError", (RuntimeError,), {})("NCCL error"))
    assert not is_lost_connection(RuntimeError("shape mismatch"))
