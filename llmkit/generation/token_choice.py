"""The next token of each row, chosen from its logits as its request asks."""

import torch
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from llmkit.config.generation import Generation
from llmkit.generation.request import Sequence


def choose_tokens(logits: Tensor, sequences: list[Sequence], eos_token_id: int) -> list[int]:
    """The next token of each sequence.

    Args:
        logits: (num_sequences, vocab_size), float32; changed in place.
    """
    for row, sequence in zip(logits, sequences, strict=True):
        if len(sequence.token_ids) < sequence.request.generation.min_new_tokens:
            row[eos_token_id] = -torch.inf
    tokens = logits.argmax(-1).tolist()
    for rows in rows_that_sample(sequences):
        generation = sequences[rows[0]].request.generation
        draws = torch.tensor([sequences[row].draw for row in rows], dtype=torch.float64)
        chosen = sample(warp(logits[rows], generation), draws).tolist()
        for row, token in zip(rows, chosen, strict=True):
            tokens[row] = token
    return tokens


def rows_that_sample(sequences: list[Sequence]) -> list[list[int]]:
    """Indices of the sequences that sample, grouped by their decoding."""
    groups: dict[int, list[int]] = {}
    for row, sequence in enumerate(sequences):
        if sequence.request.generation.temperature > 0:
            groups.setdefault(id(sequence.request.generation), []).append(row)
    return list(groups.values())


def warp(logits: Tensor, generation: Generation) -> Tensor:
    """The logits (n, vocab_size) after temperature, top-k and top-p."""
    warpers = [TemperatureLogitsWarper(generation.temperature)]
    if generation.top_k:
        warpers.append(TopKLogitsWarper(generation.top_k))
    if generation.top_p < 1:
        warpers.append(TopPLogitsWarper(generation.top_p))
    for warper in warpers:
        logits = warper(None, logits)
    return logits


def sample(logits: Tensor, draws: Tensor) -> Tensor:
    """One token per row (n,), by inverse transform sampling.

    A draw u, uniform in [0, 1), selects the first token whose cumulative probability exceeds u.
    """
    dtype = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = logits.to(dtype).softmax(-1).cumsum(-1)
    draws = draws[:, None].to(logits.device, dtype) * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, draws, right=True)
    return tokens.clamp(max=logits.shape[1] - 1)[:, 0]
