"""What all runtimes compute the same way."""

import numpy as np
import pytest
import torch

from llmkit.export.hugging_face import LlmkitRuntime
from llmkit.export.runtime import log_softmax


@pytest.fixture
def original(full):
    return LlmkitRuntime(full.source.model, full.source.tokenizer)


def test_the_likelihood_of_tokens(original):
    row = [5, 9, 77, 3, 0]
    with torch.inference_mode():
        logits = original.model(torch.tensor([row])).logits[0]
    chances = logits.double().log_softmax(-1)
    expected = -sum(chances[index - 1, row[index]].item() for index in (2, 3, 4))
    assert sum(original.token_nll(row, [2, 3, 4])) == pytest.approx(expected, rel=1e-6)


def test_probabilities_at_some_positions_are_those_of_the_whole_row(original):
    row = list(range(20))
    every = original.log_probabilities(row, list(range(20)))
    assert np.allclose(np.exp(every).sum(-1), 1, atol=1e-5)
    assert np.allclose(original.log_probabilities(row, [3, 19]), every[[3, 19]], atol=1e-6)


def test_log_probabilities_of_half_precision_are_computed_in_double_precision():
    logits = torch.tensor([[1.0, 2.5, -3]])
    expected = logits.double().log_softmax(-1)
    assert np.allclose(log_softmax(logits.bfloat16()), expected, atol=1e-6)
