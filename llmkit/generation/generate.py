"""Completions of prompts, in batches, with Hugging Face's `generate`."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llmkit.batching import map_by_length
from llmkit.config.generation import Generation
from llmkit.generation.prompt_length import check_prompt_length
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import evaluating


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    generation: Generation,
    batch_size: int,
    seed: int = 0,
    numbers: Iterable[int] | None = None,
) -> list[list[Prediction]]:
    """The completions of each prompt, without end-of-text and otherwise as generated.

    Args:
        prompts: Token ids of each prompt.
        batch_size: Prompts per forward pass; prompts of similar length share a batch.
        seed: Seed of the sampling.
        numbers: The number of each prompt; default: its index. What is sampled for a prompt depends
            on the seed and its number, not on its batch.

    Raises UserError for a prompt that does not fit the model together with its completion.
    """
    for number, prompt in enumerate(prompts, 1):
        check_prompt_length(
            f"prompt {number}", len(prompt), generation.max_new_tokens, model,
            " or lower max_new_tokens",
        )  # fmt: skip
    numbers = range(len(prompts)) if numbers is None else list(numbers)
    if samples_beams(generation):  # torch's generator would be shared by a batch
        batch_size = 1

    def complete(batch: list[int]) -> list[list[Prediction]]:
        keys = [(seed, numbers[index]) for index in batch]
        tokens = generate_batch(
            model, [prompts[index] for index in batch], keys, generation, tokenizer.eos_token_id
        )
        texts = tokenizer.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        ended = (tokens == tokenizer.eos_token_id).any(1).tolist()
        completions = [Prediction(text, ended=end) for text, end in zip(texts, ended, strict=True)]
        num_copies = generation.num_return_sequences
        starts = range(0, len(completions), num_copies)
        return [completions[start : start + num_copies] for start in starts]

    return map_by_length(complete, list(map(len, prompts)), batch_size)


def generate_batch(
    model: PreTrainedModel,
    prompts: list[list[int]],
    keys: list[tuple[int, int]],
    generation: Generation,
    eos_token_id: int,
) -> Tensor:
    """(B * num_return_sequences, T): the tokens generated for each prompt, grouped by prompt.

    keys: Seed and number of each prompt, which determine what is sampled for it.
    """
    processors = LogitsProcessorList()
    padded_length = max(map(len, prompts))
    if samples_beams(generation):
        (key,) = keys
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))
    elif generation.temperature > 0:
        copies = range(generation.num_return_sequences)
        prompts = [prompt for prompt in prompts for _ in copies]
        keys = [(*key, copy) for key in keys for copy in copies]
        processors.append(SeededSampling(generation, keys, padded_length))
    input_ids, attention_mask = pad_left(prompts, eos_token_id)
    with evaluating(model):
        output = model.generate(
            input_ids=input_ids.to(model.device),
            attention_mask=attention_mask.to(model.device),
            generation_config=generation_config(generation, eos_token_id),
            logits_processor=processors,
        )
    return output[:, padded_length:]


def samples_beams(generation: Generation) -> bool:
    return generation.temperature > 0 and generation.num_beams > 1


class SeededSampling(LogitsProcessor):
    """Sample the next token of each row with the row's own random numbers.

    Hugging Face samples all rows of a batch with one generator, so that a text would depend on its
    batch. Here a number u, uniform in [0, 1), selects the first token whose cumulative probability
    exceeds u (inverse transform sampling). Only that token keeps a finite score, so that greedy
    decoding takes it.
    """

    def __init__(
        self, generation: Generation, keys: list[tuple[int, ...]], prompt_length: int
    ) -> None:
        """
        Args:
            keys: One per row of the batch; it determines the row's random numbers.
            prompt_length: Tokens of the padded prompts.
        """
        self.warpers = [TemperatureLogitsWarper(generation.temperature)]
        if generation.top_k:
            self.warpers.append(TopKLogitsWarper(generation.top_k))
        if generation.top_p < 1:
            self.warpers.append(TopPLogitsWarper(generation.top_p))
        draws = [np.random.default_rng(key).random(generation.max_new_tokens) for key in keys]
        self.draws = torch.from_numpy(np.stack(draws))  # (B, max_new_tokens)
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: (B, vocab_size)."""
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        dtype = torch.float32 if scores.device.type == "mps" else torch.float64
        cumulative = scores.to(dtype).softmax(-1).cumsum(-1)
        draws = self.draws[:, input_ids.shape[1] - self.prompt_length, None].to(dtype)
        draws = draws.to(scores.device) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, draws, right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)


def generation_config(generation: Generation, eos_token_id: int) -> GenerationConfig:
    """The recipe's decoding settings for Hugging Face, which pads with end-of-text and masks it.

    Hugging Face samples beams; without beams, `SeededSampling` samples and the rest is greedy.
    """
    is_beam_search = generation.num_beams > 1
    sampling = {"temperature", "top_k", "top_p"} if samples_beams(generation) else set()
    return GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        min_new_tokens=generation.min_new_tokens or None,
        do_sample=samples_beams(generation),
        num_beams=generation.num_beams,
        num_return_sequences=generation.num_return_sequences if is_beam_search else 1,
        eos_token_id=eos_token_id,
        pad_token_id=eos_token_id,
        **generation.model_dump(include=sampling),
    )


def pad_left(prompts: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """input_ids and attention_mask, (B, T): padded on the left, so that generation starts in the
    same column for all prompts."""
    length = max(map(len, prompts))
    input_ids = torch.tensor([[pad] * (length - len(p)) + p for p in prompts])
    attention_mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return input_ids, attention_mask
