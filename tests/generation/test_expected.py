"""Sequences that follow an expected completion."""

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from llmkit.config.generation import Generation
from llmkit.generation.expected import follow_expected
from llmkit.generation.request import Request, Sequence
from llmkit.model.load import EMBEDDED_MODEL, load_model

END = 0


@pytest.fixture(scope="module")
def tokenizer():
    return load_model(str(EMBEDDED_MODEL))[1]


def follow(tokenizer, expected, predicted):
    """Sequences of up to 4 tokens whose states, here logits, predict the given tokens."""
    settings = Generation(max_new_tokens=4)
    sequences = [Sequence(Request([1], settings), tokenizer) for _ in expected]
    states = [one_hot(torch.tensor(tokens), 100).float() for tokens in predicted]
    follow_expected(sequences, expected, states, nn.Identity(), END)
    return [(sequence.token_ids, sequence.finish_reason) for sequence in sequences]


def test_a_sequence_takes_the_tokens_that_agree_and_the_first_that_does_not(tokenizer):
    expected = [[5, 6, 7, END], [5, END], [5, 6, END], [5, 6, 7, 8, 9, END], [5, 6]]
    predicted = [[5, 9, 7, END], [5, END], [END, 6, END], [5, 6, 7, 8, 9, END], [5, 6]]
    assert follow(tokenizer, expected, predicted) == [
        ([5, 9], None),
        ([5], "stop"),
        ([], "stop"),
        ([5, 6, 7, 8], "length"),
        ([5, 6], None),  # the expected completion was truncated
    ]


def test_states_that_are_not_finite_are_refused(tokenizer):
    sequence = Sequence(Request([1], Generation(max_new_tokens=4)), tokenizer)
    states = torch.full((2, 100), torch.nan)
    with pytest.raises(FloatingPointError):
        follow_expected([sequence], [[5, END]], [states], nn.Identity(), END)
