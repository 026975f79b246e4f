"""Adjusted logits equal those of Hugging Face's `generate`; sampling follows the distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from llmkit.config.generation import Generation
from llmkit.generation.logits import adjust_logits, sample
from llmkit.model.load import load_model

PROMPTS = [[40, 41, 42, 40, 41], [17], [60, 61, 62, 63, 60, 61, 62]]
SETTINGS = [
    {},
    {"min_new_tokens": 12},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.6},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3, "repetition_penalty": 1.3, "min_new_tokens": 4},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 7},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 0.9, "min_p": 0.3},
    {"temperature": 2.0, "top_k": 40, "top_p": 0.7, "min_p": 0.05, "repetition_penalty": 1.5,
     "no_repeat_ngram_size": 2, "min_new_tokens": 9},
]  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


@torch.inference_mode()
def run_transformers(model, prompt, settings, eos_token_id):
    """Logits of Hugging Face's `generate` before and after its processors, and its tokens."""
    settings = {"top_k": 0} | settings if "temperature" in settings else settings
    torch.manual_seed(1)
    return model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        generation_config=GenerationConfig(
            max_new_tokens=16,
            do_sample="temperature" in settings,
            eos_token_id=eos_token_id,
            pad_token_id=eos_token_id,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
            **settings,
        ),
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_adjusted_logits_equal_those_of_transformers(loaded, settings):
    model, tokenizer = loaded
    eos = tokenizer.eos_token_id
    generation = Generation(max_new_tokens=16, **settings)
    for prompt in PROMPTS:
        expected = run_transformers(model, prompt, settings, eos)
        tokens = expected.sequences[0].tolist()
        for step, (before, after) in enumerate(zip(expected.logits, expected.scores, strict=True)):
            so_far = tokens[: len(prompt) + step]
            adjusted = adjust_logits(before.clone(), generation, [so_far], [step], eos)
            assert torch.equal(adjusted, after)
            if not generation.temperature:
                assert adjusted.argmax() == tokens[len(so_far)]
        assert expected.scores  # at least one step was compared


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_adjusted_logits_of_a_row_do_not_depend_on_other_rows(settings):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 50, generator=rng) * 3
    token_lists = [[1, 2, 3, 1, 2], [7], [9, 9, 9], list(range(40))]
    num_generated = [0, 1, 3, 20]
    generation = Generation(max_new_tokens=30, **settings)
    before = logits.clone()
    together = adjust_logits(logits, generation, token_lists, num_generated, 0)
    assert torch.equal(logits, before)
    for row in range(4):
        alone = adjust_logits(
            logits[row : row + 1], generation, [token_lists[row]], [num_generated[row]], 0
        )
        assert torch.equal(alone[0], together[row])


def test_plain_greedy_decoding_returns_the_logits_unchanged():
    logits = torch.randn(2, 10)
    assert adjust_logits(logits, Generation(), [[1], [2]], [0, 0], 0) is logits


@pytest.mark.parametrize("min_new_tokens", [0, 10])
def test_a_completion_ends_if_every_token_would_repeat_an_n_gram(min_new_tokens):
    generation = Generation(
        no_repeat_ngram_size=1, temperature=1.0, top_p=0.9, min_new_tokens=min_new_tokens
    )
    logits = adjust_logits(
        torch.randn(2, 5), generation, [[0, 1, 2, 3, 4], [0, 1, 2, 4]], [1, 1], 4
    )
    assert sample(logits, torch.tensor([0.99, 0.0], dtype=torch.float64)).tolist() == [4, 3]


def test_samples_follow_the_distribution():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 30, generator=rng) * 2
    logits[0, [0, 7, 29]] = -torch.inf
    num_draws = 20_000
    draws = (torch.arange(num_draws, dtype=torch.float64) + 0.5) / num_draws  # evenly spaced
    tokens = sample(logits.expand(num_draws, -1), draws)
    shares = torch.bincount(tokens, minlength=30) / num_draws
    assert (shares - logits[0].softmax(-1)).abs().max() < 2 / num_draws
    assert shares[[0, 7, 29]].sum() == 0


@given(
    seed=st.integers(0, 10_000),
    num_tokens=st.integers(1, 300),
    scale=st.floats(0, 200),
    draw=st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 1 - 2**-53, 1e-300])),
)
def test_an_excluded_token_is_never_sampled(seed, num_tokens, scale, draw):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(1, num_tokens)) * scale).float()
    allowed = rng.integers(num_tokens)
    excluded = rng.random(num_tokens) < 0.9
    excluded[allowed] = False
    logits[0, excluded] = -torch.inf
    (token,) = sample(logits, torch.tensor([draw], dtype=torch.float64)).tolist()
    assert not excluded[token]
