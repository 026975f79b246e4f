"""Labels by their likelihood: as if each had been asked for alone."""

import pytest
import torch

from llmkit.choose import choose, label_nats
from llmkit.errors import UserError
from llmkit.model import load_model

PROMPTS = [[5, 6, 7], [9] * 20, [8], [30, 31, 32, 33, 34]]
LABELS = {"one": [40, 2], "same start": [40, 41, 2], "long": [50, 51, 52, 53, 2]}


@pytest.fixture(scope="module")
def model(tiny_gpt2):
    return load_model(str(tiny_gpt2))[0].double()


@torch.no_grad()
def nats_alone(model, prompt, label):
    """By the model's own forward pass, one sequence."""
    log_p = model(torch.tensor([prompt + label])).logits[0].log_softmax(-1)
    return -sum(log_p[len(prompt) - 1 + i, token].item() for i, token in enumerate(label))


def test_a_label_has_the_likelihood_it_would_have_alone(model):
    nats = label_nats(model.eval(), PROMPTS, list(LABELS.values()))
    for prompt, row in zip(PROMPTS, nats.tolist(), strict=True):
        expected = [nats_alone(model, prompt, label) for label in LABELS.values()]
        assert row == pytest.approx(expected, rel=1e-5)


def test_probabilities_depend_on_neither_batch_nor_order(model):
    whole = choose(model, PROMPTS, LABELS, batch_size=10)
    assert all(sum(row.values()) == pytest.approx(1) for row in whole)
    for size in (1, 2, 3):
        other = choose(model, PROMPTS[::-1], dict(reversed(LABELS.items())), batch_size=size)
        for row, expected in zip(other[::-1], whole, strict=True):
            assert row == pytest.approx(expected, rel=1e-5)


def test_a_prompt_that_does_not_fit_is_refused(model):
    room = model.config.n_positions - 4
    assert choose(model, [[1] * room], LABELS, 1)
    with pytest.raises(UserError, match=f"prompt 2: {room + 1} tokens"):
        choose(model, [[1], [1] * (room + 1)], LABELS, 1)
