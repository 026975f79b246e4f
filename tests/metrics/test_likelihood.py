"""Loss, perplexity and bits per byte of sums over rows."""

import math

import numpy as np
import pytest

from llmkit.metrics import likelihood


def test_the_loss_is_a_mean_over_tokens_not_over_rows():
    rows = np.array([[8.0, 4], [3.0, 1], [0.0, 0]])  # the last row has no supervised tokens
    assert likelihood.scores(rows, np.ones((1, 3))) == {"loss": pytest.approx([11 / 5])}
    weights = np.array([[2.0, 0, 5], [0, 0, 1]])
    losses = likelihood.scores(rows, weights)["loss"]
    assert losses[0] == 2
    assert math.isnan(losses[1])


def test_bits_per_byte_divide_by_the_bytes_of_the_tokens():
    rows = np.array([[8.0, 4, 10], [3.0, 1, 12]])
    scores = likelihood.scores(rows, np.ones((1, 2)))
    assert scores["perplexity"] == pytest.approx([math.exp(11 / 5)])
    assert scores["bits_per_byte"] == pytest.approx([11 / math.log(2) / 22])


def test_the_perplexity_of_an_enormous_loss_is_finite():
    scores = likelihood.scores(np.array([[1e6, 1, 1]]), np.ones((1, 1)))
    assert np.isfinite(scores["perplexity"]).all()
