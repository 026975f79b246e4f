"""What is measured at the start, and what is guessed of memory."""

import os
import subprocess
import sys

import pytest
import torch

from llmkit.model.load import load_model
from llmkit.runtime import autotune
from llmkit.training import memory
from llmkit.training.memory import BEST_TOKENS, available_bytes, fitting_tokens


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


@pytest.mark.parametrize(
    ("free", "expected"), [(10**12, BEST_TOKENS), (2 * 10**7, None), (0, 40)]
)  # fmt: skip
def test_micro_batches_shrink_with_the_memory_that_is_free(tiny_gpt2, monkeypatch, free, expected):
    model, _ = load_model(str(tiny_gpt2))
    monkeypatch.setattr(memory, "available_bytes", lambda device: free)
    tokens = fitting_tokens(model, torch.device("cpu"), "no", longest=40, num_processes=1)
    if expected is None:
        assert 40 < tokens < BEST_TOKENS
        half = fitting_tokens(model, torch.device("cpu"), "no", longest=40, num_processes=2)
        assert half < tokens
    else:
        assert tokens == expected


def test_what_a_container_keeps_of_files_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**30 - 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**29}\n")
    assert available_bytes(torch.device("cpu")) == 2**29 + 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(torch.device("cpu")) > 2**30


def test_some_memory_is_free():
    assert 2**20 < available_bytes(torch.device("cpu")) < 2**50


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
