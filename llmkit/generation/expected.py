"""Sequences that begin like an expected completion, whose hidden states are known."""

import torch
from torch import Tensor, nn

from llmkit.generation.request import Sequence
from llmkit.generation.token_choice import choose_tokens
from llmkit.model.load import check_finite


def follow_expected(
    sequences: list[Sequence],
    expected: list[list[int]],
    states: list[Tensor],
    output: nn.Module,
    eos_token_id: int,
) -> None:
    """Extend new sequences without a forward pass: by all tokens on which the model agrees with the
    expected completion, and by the first on which it does not.

    Raises FloatingPointError if the states are not finite.

    The tokens are those that the model would generate one at a time, as in speculative decoding
    (Leviathan et al. 2023) with the expected completion as the draft.

    Args:
        expected: Token ids of the expected completion of each sequence.
        states: The hidden states from which these tokens are predicted, (num_tokens, D) each.
        output: The layer that computes logits.
    """
    following, position = range(len(sequences)), 0
    while following:
        hidden = torch.stack([states[row][position] for row in following])
        check_finite(hidden)
        agreeing = [sequences[row] for row in following]
        tokens = choose_tokens(output(hidden).float(), agreeing, eos_token_id)
        for sequence, token in zip(agreeing, tokens, strict=True):
            sequence.push(token, eos_token_id)
        following = [
            row
            for row, token in zip(following, tokens, strict=True)
            if sequences[row].finish_reason is None
            and token == expected[row][position]
            and position + 1 < len(expected[row])
        ]
        position += 1
