"""Prompts -> completions, batched, with Hugging Face's `generate`."""

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

from llmkit.config.schema import Generation
from llmkit.errors import UserError
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
    """Completions of each prompt (token ids), as generated: neither stripped nor with end-of-text.

    The longest prompts come first, so that those of a batch have similar lengths. What is sampled
    for a prompt depends on the seed and the prompt's number (default: its index), not on its batch.
    Raises UserError for a prompt that does not fit the model together with its completion.
    """
    check_lengths(prompts, generation.max_new_tokens, model.config.max_position_embeddings)
    numbers = range(len(prompts)) if numbers is None else list(numbers)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    each = generation.num_return_sequences
    if samples_beams(generation):  # torch's generator would be shared by a batch
        batch_size = 1
    completions: list[list[Prediction]] = [[] for _ in prompts]
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        keys = [(seed, numbers[index]) for index in batch]
        written = generate_batch(
            model, [prompts[index] for index in batch], keys, generation, tokenizer.eos_token_id
        )
        texts = tokenizer.batch_decode(
            written, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        ended = (written == tokenizer.eos_token_id).any(1).tolist()
        made = [Prediction(text, ended=end) for text, end in zip(texts, ended, strict=True)]
        for position, index in enumerate(batch):
            completions[index] = made[position * each : (position + 1) * each]
    return completions


def generate_batch(
    model: PreTrainedModel,
    prompts: list[list[int]],
    keys: list[tuple[int, int]],
    generation: Generation,
    eos_token_id: int,
) -> Tensor:
    """(B * num_return_sequences, T): the tokens generated for each prompt, grouped by prompt.

    keys: one for each prompt; it seeds what is sampled for it.
    """
    processors = LogitsProcessorList()
    longest = max(map(len, prompts))
    if samples_beams(generation):
        torch.manual_seed(hash(keys[0]))
    elif generation.temperature > 0:
        copies = range(generation.num_return_sequences)
        prompts = [prompt for prompt in prompts for _ in copies]
        keys = [(*key, copy) for key in keys for copy in copies]
        processors.append(SeededSampling(generation, keys, longest))
    input_ids, attention_mask = pad_left(prompts, eos_token_id)
    with evaluating(model):
        output = model.generate(
            input_ids=input_ids.to(model.device),
            attention_mask=attention_mask.to(model.device),
            generation_config=generation_config(generation, eos_token_id),
            logits_processor=processors,
        )
    return output[:, longest:]


def samples_beams(generation: Generation) -> bool:
    return generation.temperature > 0 and generation.num_beams > 1


class SeededSampling(LogitsProcessor):
    """Sample the next token of each row with the row's own random numbers.

    The library samples all rows of a batch with one generator, so a text would depend on the batch
    it is in. Here a number u, uniform in [0, 1), chooses the first token whose cumulative
    probability exceeds u. Only that token keeps a finite score, so greedy decoding takes it.
    """

    def __init__(
        self, generation: Generation, keys: list[tuple[int, ...]], prompt_length: int
    ) -> None:
        """keys: one for each row of the batch; a row's random numbers are a function of its key."""
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


def check_lengths(prompts: list[list[int]], max_new_tokens: int, num_positions: int) -> None:
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"prompt {index + 1} is empty; give it at least one character")
        if len(prompt) + max_new_tokens > num_positions:
            raise UserError(
                f"prompt {index + 1}: {len(prompt)} tokens and up to {max_new_tokens} new ones "
                f"exceed the model's {num_positions} positions; shorten the prompt or lower "
                "max_new_tokens"
            )


def generation_config(generation: Generation, eos_token_id: int) -> GenerationConfig:
    """The recipe's decoding for Hugging Face; end-of-text serves as padding, which is masked.

    The library samples beams; `SeededSampling` samples single tokens.
    """
    is_beam_search = generation.num_beams > 1
    choice = (
        {
            "temperature": generation.temperature,
            "top_k": generation.top_k,
            "top_p": generation.top_p,
        }
        if samples_beams(generation)
        else {}
    )
    return GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        min_new_tokens=generation.min_new_tokens or None,
        do_sample=samples_beams(generation),
        num_beams=generation.num_beams,
        num_return_sequences=generation.num_return_sequences if is_beam_search else 1,
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
