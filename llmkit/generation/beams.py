"""Beam search with Hugging Face's `generate`, in batches of prompts of similar length."""

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.batching import map_by_length
from llmkit.config.generation import Generation
from llmkit.model.load import evaluating


@torch.inference_mode()
def beam_search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    keys: list[tuple[int, ...]],
    generation: Generation,
    batch_size: int,
) -> list[list[list[int]]]:
    """Token ids of the `num_return_sequences` best beams of each prompt.

    A beam ends with end-of-text if the model generated it, or with the token that completes a stop
    string.

    Args:
        prompts: Token ids of each prompt.
        keys: Seed sequence of each prompt's random numbers, used if temperature is above 0.
        batch_size: Prompts per forward pass; reduced to 1 if beams would depend on the other
            prompts of the batch.
    """
    eos_token_id = tokenizer.eos_token_id

    def search(batch: list[int]) -> list[list[list[int]]]:
        if generation.temperature > 0:
            state = np.random.SeedSequence(keys[batch[0]]).generate_state(1, np.uint64)
            torch.manual_seed(int(state[0]))
        input_ids, attention_mask = pad_left([prompts[index] for index in batch], eos_token_id)
        with evaluating(model):
            output = model.generate(
                input_ids=input_ids.to(model.device),
                attention_mask=attention_mask.to(model.device),
                generation_config=generation_config(generation, eos_token_id),
                tokenizer=tokenizer if generation.stop else None,
            )
        rows = [
            truncate_after(row, eos_token_id) for row in output[:, input_ids.shape[1] :].tolist()
        ]
        count = generation.num_return_sequences
        return [rows[start : start + count] for start in range(0, len(rows), count)]

    # The prompts of a batch share random numbers, and padding would count as repeated tokens.
    if generation.temperature or generation.no_repeat_ngram_size or generation.stop:
        batch_size = 1
    return map_by_length(search, list(map(len, prompts)), batch_size)


def truncate_after(tokens: list[int], last: int) -> list[int]:
    """The tokens up to and including the first `last`; all tokens if there is none."""
    return tokens[: tokens.index(last) + 1] if last in tokens else tokens


def generation_config(generation: Generation, eos_token_id: int) -> GenerationConfig:
    """The decoding settings for Hugging Face; padding is end-of-text, which is masked."""
    names = {"repetition_penalty", "no_repeat_ngram_size", "length_penalty"}
    if generation.temperature > 0:
        names |= {"temperature", "top_k", "top_p", "min_p"}
    return GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        min_new_tokens=generation.min_new_tokens or None,
        do_sample=generation.temperature > 0,
        num_beams=generation.num_beams,
        num_return_sequences=generation.num_return_sequences,
        eos_token_id=eos_token_id,
        pad_token_id=eos_token_id,
        stop_strings=generation.stop or None,
        **generation.model_dump(include=names),
    )


def pad_left(prompts: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """input_ids and attention_mask, each (B, T), padded on the left so that all completions start
    in the same column."""
    length = max(map(len, prompts))
    input_ids = torch.tensor([[pad] * (length - len(p)) + p for p in prompts])
    attention_mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return input_ids, attention_mask
