"""The next token, chosen from logits."""

import numpy as np
import pytest
import torch

from llmkit.config.generation import Generation
from llmkit.generation.token_choice import sample, warp


@pytest.mark.parametrize(
    ("settings", "left"), [({}, 5), ({"top_k": 3}, 3), ({"top_p": 0.6}, 2), ({"temperature": 2}, 5)]
)
def test_tokens_are_sampled_with_the_probabilities_of_the_settings(settings, left):
    """Of five tokens, chi-square of 4,000 draws; the warpers are restated by hand."""
    settings = Generation(**{"temperature": 1.0, "max_new_tokens": 1, **settings})
    logits = torch.tensor([2.0, 1.5, -1.0, 0.0, 1.0])
    draws = [np.random.default_rng((0, number)).random() for number in range(4000)]
    tokens = sample(warp(logits.repeat(4000, 1), settings), torch.tensor(draws))
    counts = tokens.bincount(minlength=5)
    kept = logits.argsort(descending=True)[:left]
    expected = torch.zeros(5).scatter(0, kept, (logits / settings.temperature).softmax(0)[kept])
    expected *= 4000 / expected.sum()
    assert counts[expected == 0].sum() == 0
    chi_square = ((counts - expected)[expected > 0] ** 2 / expected[expected > 0]).sum()
    assert chi_square < 18.5, "with 4 degrees of freedom, once in a thousand seeds"
