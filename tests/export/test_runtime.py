"""What all runtimes compute the same way."""

import numpy as np
import pytest
import torch

from llmkit.export.hugging_face import LlmkitRuntime
from llmkit.export.runtime import log_softmax


@pytest.fixture
def original(full):
    return LlmkitRuntime(full.source.model, full.source.tokenizer)


def test_token_nll_equals_that_of_the_models_logits(original):
    row = [5, 9, 77, 3, 0]
    with torch.inference_mode():
        logits = original.model(torch.tensor([row])).logits[0]
    chances = logits.double().log_softmax(-1)
    expected = -sum(chances[index - 1, row[index]].item() for index in (2, 3, 4))
    assert sum(original.token_nll(row, [2, 3, 4])) == pytest.approx(expected, rel=1e-6)


def test_log_probabilities_do_not_depend_on_the_requested_positions(original):
    row = list(range(20))
    every = original.log_probabilities(row, list(range(20)))
    assert np.allclose(np.exp(every).sum(-1), 1, atol=1e-5)
    assert np.allclose(original.log_probabilities(row, [3, 19]), every[[3, 19]], atol=1e-6)


def test_log_probabilities_of_half_precision_are_computed_in_double_precision():
    logits = torch.tensor([[1.0, 2.5, -3]])
    expected = logits.double().log_softmax(-1)
    assert np.allclose(log_softmax(logits.bfloat16()), expected, atol=1e-6)
