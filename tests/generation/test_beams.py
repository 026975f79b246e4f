"""Beams of a batch, against Hugging Face's generate of each prompt alone."""

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from llmkit.config.generation import Generation
from llmkit.generation.beams import search_beams
from llmkit.model.load import load_model


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def prompts(loaded):
    rng = np.random.default_rng(3)
    vocab_size = loaded[0].config.vocab_size
    return [rng.integers(1, vocab_size, rng.integers(1, 40)).tolist() for _ in range(9)]


@pytest.mark.parametrize(("num_beams", "num_sequences"), [(3, 1), (4, 2)])
def test_beams_of_a_batch_are_those_of_generate_alone(loaded, prompts, num_beams, num_sequences):
    model, tokenizer = loaded
    eos = tokenizer.eos_token_id
    settings = Generation(max_new_tokens=8, num_beams=num_beams, num_return_sequences=num_sequences)
    keys = [(0, index) for index in range(len(prompts))]
    together = search_beams(model, prompts, keys, settings, 4, eos)
    for prompt, beams in zip(prompts, together, strict=True):
        output = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            generation_config=GenerationConfig(
                max_new_tokens=8, num_beams=num_beams, num_return_sequences=num_sequences,
                eos_token_id=eos, pad_token_id=eos,
            ),
        )[:, len(prompt) :]  # fmt: skip
        rows = [row[: [*row, eos].index(eos) + 1] for row in output.tolist()]
        assert beams == rows


def test_sampled_beams_depend_on_their_key_alone(loaded, prompts):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=6, num_beams=2, temperature=1.5)
    keys = [(4, index) for index in range(3)]
    together = search_beams(model, prompts[:3], keys, settings, 8, tokenizer.eos_token_id)
    for prompt, key, beams in zip(prompts, keys, together, strict=False):
        assert search_beams(model, [prompt], [key], settings, 1, tokenizer.eos_token_id) == [beams]
