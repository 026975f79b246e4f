"""Batched beam search, compared with Hugging Face's `generate` on single prompts."""

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from llmkit.config.generation import Generation
from llmkit.generation.beams import beam_search
from llmkit.generation.generate import generate
from llmkit.model.load import load_model


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def prompts(loaded):
    rng = np.random.default_rng(3)
    vocab_size = loaded[0].config.vocab_size
    return [rng.integers(1, vocab_size, rng.integers(1, 40)).tolist() for _ in range(9)]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 2},
        {"num_beams": 3, "length_penalty": -2.0},
        {"num_beams": 3, "repetition_penalty": 1.8},
        {"num_beams": 3, "no_repeat_ngram_size": 1},
        {"num_beams": 2, "no_repeat_ngram_size": 2, "min_new_tokens": 3},
    ],
    ids=str,
)
def test_batched_beams_equal_those_of_generate(loaded, prompts, settings):
    model, tokenizer = loaded
    eos = tokenizer.eos_token_id
    decoding = Generation(max_new_tokens=8, **settings)
    keys = [(0, index) for index in range(len(prompts))]
    together = beam_search(model, tokenizer, prompts, keys, decoding, 4)
    for prompt, beams in zip(prompts, together, strict=True):
        output = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            generation_config=GenerationConfig(
                max_new_tokens=8, eos_token_id=eos, pad_token_id=eos, **settings
            ),
        )[:, len(prompt) :]  # fmt: skip
        rows = [row[: [*row, eos].index(eos) + 1] for row in output.tolist()]
        assert beams == rows


def test_sampled_beams_depend_only_on_their_key(loaded, prompts):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=6, num_beams=2, temperature=1.5)
    keys = [(4, index) for index in range(3)]
    together = beam_search(model, tokenizer, prompts[:3], keys, settings, 8)
    for prompt, key, beams in zip(prompts, keys, together, strict=False):
        assert beam_search(model, tokenizer, [prompt], [key], settings, 1) == [beams]


def test_beams_end_with_a_stop_string(loaded, prompts):
    model, tokenizer = loaded
    free = Generation(max_new_tokens=8, num_beams=3)
    texts = [completion.text for (completion,) in generate(model, tokenizer, prompts, free, 1)]
    stop = sorted({text[3:5] for text in texts if len(text) > 5})
    assert stop
    decoding = Generation(max_new_tokens=8, num_beams=3, num_return_sequences=3, stop=stop)
    completions = [
        completion
        for beams in generate(model, tokenizer, prompts, decoding, 4)
        for completion in beams
    ]
    assert any(completion.ended for completion in completions)
    for completion in completions:
        assert not any(text in completion.text for text in stop)
