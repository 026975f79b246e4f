"""The next tokens of rows with different decoding settings."""

import torch

from llmkit.config.generation import Generation
from llmkit.generation.request import Request, Sequence
from llmkit.generation.token_choice import choose_tokens, group_by_decoding

END = 0


def sequence_of(key=(0,), **settings):
    return Sequence(Request([1, 2], Generation(**settings), key), tokenizer=None)


def test_each_row_is_decoded_with_its_own_settings():
    logits = torch.tensor([[9.0, 4.0, 8.0, 1.0, 0.0]]).repeat(4, 1)
    sampled = Generation(temperature=1.0, top_k=1)
    sequences = [
        sequence_of(),
        sequence_of(min_new_tokens=2),
        sequence_of(min_new_tokens=2, repetition_penalty=10.0),
        Sequence(Request([1], sampled, (1,)), tokenizer=None),
    ]
    assert choose_tokens(logits, sequences, END) == [0, 2, 3, 0]


def test_rows_with_equal_settings_share_a_group_for_any_length_limits():
    sequences = [
        sequence_of(temperature=1.0, max_new_tokens=5),
        sequence_of(),
        sequence_of(temperature=1.0, max_new_tokens=9),
        sequence_of(temperature=1.0, min_new_tokens=1),
    ]
    assert group_by_decoding(sequences) == [[0, 2], [1], [3]]


def test_rows_with_equal_settings_use_their_own_random_numbers():
    settings = Generation(temperature=1.0, max_new_tokens=1)
    sequences = [Sequence(Request([1], settings, (0, n)), tokenizer=None) for n in range(3000)]
    logits = torch.tensor([2.0, 1.5, -1.0, 0.0, 1.0])
    counts = torch.tensor(choose_tokens(logits.repeat(3000, 1), sequences, END)).bincount()
    expected = 3000 * logits.softmax(0)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 18.5, "with 4 degrees of freedom, once in a thousand seeds"
