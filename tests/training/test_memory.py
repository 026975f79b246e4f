"""The number of tokens per micro-batch that fits into memory."""

import pytest
import torch

from llmkit.model.load import load_model
from llmkit.training import memory
from llmkit.training.memory import BEST_TOKENS, fitting_tokens


@pytest.mark.parametrize(
    ("free", "expected"), [(10**12, BEST_TOKENS), (2 * 10**7, None), (0, 40)]
)  # fmt: skip
def test_micro_batch_shrinks_with_free_memory(tiny_gpt2, monkeypatch, free, expected):
    model, _ = load_model(str(tiny_gpt2))
    monkeypatch.setattr(memory, "available_bytes", lambda device: free)
    tokens = fitting_tokens(model, torch.device("cpu"), "no", longest=40, num_processes=1)
    if expected is None:
        assert 40 < tokens < BEST_TOKENS
        half = fitting_tokens(model, torch.device("cpu"), "no", longest=40, num_processes=2)
        assert half < tokens
    else:
        assert tokens == expected
