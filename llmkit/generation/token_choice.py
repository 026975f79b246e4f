"""Choose the next token of each sequence by the decoding settings of its request."""

import torch
from torch import Tensor

from llmkit.generation.logits import adjust_logits, sample
from llmkit.generation.request import Sequence


def choose_tokens(logits: Tensor, sequences: list[Sequence], eos_token_id: int) -> list[int]:
    """Choose the next token of each sequence.

    Args:
        logits: (num_sequences, vocab_size), float32.
        eos_token_id: The end-of-text token.

    Returns:
        A token id per sequence.
    """
    tokens = [eos_token_id] * len(sequences)
    for rows in group_by_decoding(sequences):
        of_rows = logits if len(rows) == len(sequences) else logits[rows]
        chosen = _choose([sequences[row] for row in rows], of_rows, eos_token_id)
        for row, token in zip(rows, chosen, strict=True):
            tokens[row] = token
    return tokens


def group_by_decoding(sequences: list[Sequence]) -> list[list[int]]:
    """Group sequences with the same decoding settings, whose logits are adjusted together: their
    indices."""
    groups: dict[str, list[int]] = {}
    for row, sequence in enumerate(sequences):
        groups.setdefault(sequence.decoding, []).append(row)
    return list(groups.values())


def _choose(sequences: list[Sequence], logits: Tensor, eos_token_id: int) -> list[int]:
    """Choose the next token of each sequence; all have the same decoding settings."""
    generation = sequences[0].request.generation
    if generation.constraint:
        logits = logits.clone()
        for row, sequence in zip(logits, sequences, strict=True):
            sequence.constraint.apply(row)
    logits = adjust_logits(
        logits,
        generation,
        [sequence.request.prompt + sequence.token_ids for sequence in sequences],
        [len(sequence.token_ids) for sequence in sequences],
        eos_token_id,
    )
    if not generation.temperature:
        return logits.argmax(-1).tolist()
    draws = torch.tensor([sequence.draw for sequence in sequences], dtype=torch.float64)
    return sample(logits, draws).tolist()
