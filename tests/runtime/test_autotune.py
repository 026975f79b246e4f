"""Measurements before the first step."""

import os
import subprocess
import sys

import pytest
import torch

from llmkit.runtime import autotune


@pytest.fixture(autouse=True)
def precision():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_it_is_measured_once_on_a_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path))
    first = autotune.autotune_cpu()
    assert first.bf16 > 0
    (path,) = (tmp_path / "tuning").iterdir()
    monkeypatch.setattr(autotune, "measure", lambda: pytest.fail("measured again"))
    assert autotune.autotune_cpu() == first
    path.write_text("{damaged")
    with pytest.raises(pytest.fail.Exception):
        autotune.autotune_cpu()


def test_products_stay_float32_whatever_was_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path))
    autotune.autotune_cpu()
    x, y = torch.randn(300, 200), torch.randn(200, 100)
    exact = x.double() @ y.double()
    assert ((x @ y).double() - exact).norm() <= autotune.MAX_FLOAT32_ERROR * exact.norm()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("LLMKIT_CACHE", str(file))
    assert autotune.autotune_cpu().float32 > 0


SHAPES = """
import psutil, sys, torch
from llmkit.runtime.autotune import autotune_cpu

autotune_cpu()
x, weight = torch.randn(1000, 512).bfloat16(), torch.randn(512, 512).bfloat16()
x[:99] @ weight
before = psutil.Process().memory_info().rss
for rows in range(100, 700):
    x[:rows] @ weight
print((psutil.Process().memory_info().rss - before) // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux's means")
@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(),
    reason="without bf16 instructions the library compiles no programs to keep",
)
def test_memory_does_not_grow_with_the_number_of_shapes():
    # By default each shape leaves its programs behind: 600 of them more than 200 MB.
    own = {name: value for name, value in os.environ.items() if "CACHE_CAPACITY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True, env=own
    )
    assert int(done.stdout) < 150
