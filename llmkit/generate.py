"""Prompts -> completions, batched, with Hugging Face's `generate`."""

from dataclasses import dataclass

import torch
from transformers import GenerationConfig, GPT2LMHeadModel, PreTrainedTokenizerBase

from llmkit.errors import UserError
from llmkit.model import evaluating
from llmkit.schema import Generation


@dataclass(frozen=True)
class Completion:
    """What a model wrote behind a prompt, end-of-text left out."""

    text: str
    ended: bool
    """Whether it stopped by an end-of-text, not at the longest that was allowed."""


@torch.inference_mode()
def generate(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    generation: Generation,
    batch_size: int,
) -> list[list[Completion]]:
    """Completions of each prompt (token ids), as they were generated.

    Longest prompts first, so that those of a batch are of like length. Raises UserError for a
    prompt that does not fit the model together with its completion.
    """
    check_lengths(prompts, generation.max_new_tokens, model.config.n_positions)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    config = generation_config(generation, tokenizer.eos_token_id)
    completions: list[list[Completion]] = [[] for _ in prompts]
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        input_ids, attention_mask = pad_left([prompts[i] for i in batch], tokenizer.eos_token_id)
        with evaluating(model):
            output = model.generate(
                input_ids=input_ids.to(model.device),
                attention_mask=attention_mask.to(model.device),
                generation_config=config,
            )
        written = output[:, input_ids.shape[1] :]
        texts = tokenizer.batch_decode(
            written, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        ended = (written == tokenizer.eos_token_id).any(1).tolist()
        made = [Completion(text, end) for text, end in zip(texts, ended, strict=True)]
        each = generation.num_return_sequences
        for position, index in enumerate(batch):
            completions[index] = made[position * each : (position + 1) * each]
    return completions


def check_lengths(prompts: list[list[int]], max_new_tokens: int, n_positions: int) -> None:
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"prompt {index + 1} is empty; give it at least one character")
        if len(prompt) + max_new_tokens > n_positions:
            raise UserError(
                f"prompt {index + 1}: {len(prompt)} tokens and up to {max_new_tokens} new ones "
                f"exceed the model's {n_positions} positions; shorten the prompt or lower "
                "max_new_tokens"
            )


def generation_config(generation: Generation, eos_token_id: int) -> GenerationConfig:
    """The recipe's decoding in Hugging Face's words; padding is the end-of-text, masked."""
    sampling = generation.temperature > 0
    choice = (
        {
            "temperature": generation.temperature,
            "top_k": generation.top_k,
            "top_p": generation.top_p,
        }
        if sampling
        else {}
    )
    return GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        min_new_tokens=generation.min_new_tokens or None,
        do_sample=sampling,
        num_beams=generation.num_beams,
        num_return_sequences=generation.num_return_sequences,
        eos_token_id=eos_token_id,
        pad_token_id=eos_token_id,
        **choice,
    )


def pad_left(prompts: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """input_ids and attention_mask, (B, T): the prompts end together, where generation begins."""
    length = max(map(len, prompts))
    input_ids = torch.tensor([[pad] * (length - len(p)) + p for p in prompts])
    attention_mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return input_ids, attention_mask
