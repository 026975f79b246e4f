"""What is measured at the start, and what is guessed of memory."""

import pytest
import torch

from llmkit import memory, tuner
from llmkit.memory import BEST_TOKENS, available_bytes, fitting_tokens
from llmkit.model import load_model


@pytest.fixture(autouse=True)
def precision():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_it_is_measured_once_on_a_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path))
    first = tuner.tune_cpu()
    assert first.bf16 > 0
    (path,) = (tmp_path / "tuning").iterdir()
    monkeypatch.setattr(tuner, "measure", lambda: pytest.fail("measured again"))
    assert tuner.tune_cpu() == first
    path.write_text("{damaged")
    with pytest.raises(pytest.fail.Exception):
        tuner.tune_cpu()


def test_products_stay_float32_whatever_was_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path))
    tuner.tune_cpu()
    x, y = torch.randn(300, 200), torch.randn(200, 100)
    exact = x.double() @ y.double()
    assert ((x @ y).double() - exact).norm() <= tuner.EXACT * exact.norm()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("LLMKIT_CACHE", str(file))
    assert tuner.tune_cpu().float32 > 0


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


def test_some_memory_is_free():
    assert 2**20 < available_bytes(torch.device("cpu")) < 2**50
