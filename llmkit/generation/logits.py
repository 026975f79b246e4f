"""Logits processors of the decoding settings, and sampling."""

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llmkit.config.generation import Generation


def adjust_logits(
    logits: Tensor,
    generation: Generation,
    token_lists: list[list[int]],
    num_generated: list[int],
    eos_token_id: int,
) -> Tensor:
    """Apply penalties, minimum length, temperature, top-k, top-p and min-p, in the order of Hugging
    Face's `generate`. Excluded tokens get -inf.

    Args:
        logits: (N, vocab_size); returned unchanged if no setting applies.
        token_lists: Token ids of each row so far, prompt and completion.
        num_generated: Number of completion tokens of each row.

    Returns:
        The adjusted logits, (N, vocab_size).
    """
    processors = _processors(generation)
    if processors:
        rows = zip(logits.split(1), token_lists, strict=True)
        logits = torch.cat([_process(row, tokens, processors) for row, tokens in rows])
    too_short = [
        row for row, count in enumerate(num_generated) if count < generation.min_new_tokens
    ]
    if too_short:
        logits = logits.clone()
        logits[too_short, eos_token_id] = -torch.inf
    if generation.no_repeat_ngram_size:
        # A completion ends if every other token would repeat an n-gram.
        is_over = (logits == -torch.inf).all(1)
        logits[is_over, eos_token_id] = 0.0
    for warper in _warpers(generation):
        logits = warper(None, logits)
    return logits


def sample(logits: Tensor, draws: Tensor) -> Tensor:
    """Sample one token per row from softmax(logits) by inverse transform sampling.

    A draw u selects the first token whose cumulative probability exceeds u. Unlike with Hugging
    Face's `generate`, which uses one random generator per batch, samples do not depend on the other
    rows.

    Args:
        logits: (N, vocab_size).
        draws: (N,), float64, uniform in [0, 1).

    Returns:
        Token ids, (N,).
    """
    dtype = torch.float32 if logits.device.type == "mps" else torch.float64
    cumulative = logits.to(dtype).softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    draws = draws[:, None].to(dtype).to(logits.device) * total
    # A product rounded up to the total would select a token of probability 0.
    draws = torch.minimum(draws, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, draws, right=True)[:, 0]


def _processors(generation: Generation) -> list[LogitsProcessor]:
    """The settings that depend on the tokens so far."""
    processors: list[LogitsProcessor] = []
    if generation.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(generation.repetition_penalty))
    if generation.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(generation.no_repeat_ngram_size))
    return processors


def _process(logits: Tensor, tokens: list[int], processors: list[LogitsProcessor]) -> Tensor:
    """Apply the processors to the logits (1, vocab_size) of one row."""
    input_ids = torch.tensor([tokens], device=logits.device)
    for processor in processors:
        logits = processor(input_ids, logits)
    return logits


def _warpers(generation: Generation) -> list[LogitsProcessor]:
    """The settings that change the distribution to sample from; none for greedy decoding."""
    if not generation.temperature:
        return []
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(generation.temperature)]
    if generation.top_k:
        warpers.append(TopKLogitsWarper(generation.top_k))
    if generation.top_p < 1:
        warpers.append(TopPLogitsWarper(generation.top_p))
    if generation.min_p:
        warpers.append(MinPLogitsWarper(generation.min_p))
    return warpers
