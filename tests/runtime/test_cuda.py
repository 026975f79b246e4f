"""Settings of CUDA: its precision, its allocator, and kernels that add in a fixed order."""

import os

import pytest
import torch
from torch.utils import deterministic as memory_filling

from llmkit.runtime.cuda import (
    ALLOCATOR_VARIABLES,
    cuda_precision,
    deterministic_algorithms,
    set_up_cuda,
)

VARIABLES = (*ALLOCATOR_VARIABLES, "CUBLAS_WORKSPACE_CONFIG")


@pytest.fixture
def environment(monkeypatch):
    """os.environ without CUDA's variables, restored after the test together with torch's flags."""
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k not in VARIABLES})
    monkeypatch.setattr("sys.platform", "linux")
    precision = torch.get_float32_matmul_precision()
    yield os.environ
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(
    ("capability", "has_bf16", "expected"),
    [
        ((9, 0), True, "bf16"),
        ((8, 0), True, "bf16"),
        ((7, 5), False, "fp16"),
        ((7, 0), False, "fp16"),
        ((6, 1), False, "no"),
    ],
)
def test_the_precision_is_one_that_the_gpu_computes_in(capability, has_bf16, expected):
    assert cuda_precision(capability, has_bf16) == expected


def test_attention_does_not_go_to_cudnn(environment):
    torch.backends.cuda.enable_cudnn_sdp(True)
    set_up_cuda("auto", deterministic=False)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize(
    ("mixed_precision", "expected"),
    [("no", "highest"), ("auto", "high"), ("bf16", "high"), ("fp16", "high")],
)
def test_float32_products_are_exact_only_without_mixed_precision(
    environment, mixed_precision, expected
):
    set_up_cuda(mixed_precision, deterministic=False)
    assert torch.get_float32_matmul_precision() == expected


def test_the_allocator_gets_segments_that_can_grow(environment):
    set_up_cuda("auto", deterministic=False)
    assert environment["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert "CUBLAS_WORKSPACE_CONFIG" not in environment


@pytest.mark.parametrize("name", ALLOCATOR_VARIABLES)
def test_the_users_settings_of_the_allocator_have_priority(environment, name):
    environment[name] = "max_split_size_mb:512"
    set_up_cuda("auto", deterministic=False)
    assert {n: environment[n] for n in ALLOCATOR_VARIABLES if n in environment} == {
        name: "max_split_size_mb:512"
    }


def test_other_systems_than_linux_keep_their_allocator(environment, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    set_up_cuda("auto", deterministic=False)
    assert "PYTORCH_ALLOC_CONF" not in environment


@pytest.mark.parametrize(("given", "expected"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_deterministic_products_get_a_fixed_workspace(environment, given, expected):
    if given is not None:
        environment["CUBLAS_WORKSPACE_CONFIG"] = given
    set_up_cuda("auto", deterministic=True)
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == expected


@pytest.mark.parametrize(
    ("device", "enabled", "expected"),
    [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)],
)
def test_deterministic_algorithms_are_for_cuda_and_end_with_the_context(device, enabled, expected):
    before = memory_filling.fill_uninitialized_memory
    with deterministic_algorithms(torch.device(device), enabled=enabled):
        assert torch.are_deterministic_algorithms_enabled() is expected
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert memory_filling.fill_uninitialized_memory is (before and not expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert memory_filling.fill_uninitialized_memory == before


def test_deterministic_algorithms_end_after_an_error():
    with pytest.raises(MemoryError), deterministic_algorithms(torch.device("cuda"), enabled=True):
        raise MemoryError
    assert not torch.are_deterministic_algorithms_enabled()
