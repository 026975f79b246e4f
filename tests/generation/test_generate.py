"""Decoding: batches and seeds, length limits, distribution of samples."""

import shutil

import pytest
import torch
from pydantic import ValidationError
from rows import TEXT

from llmkit.config.generation import Generation
from llmkit.data.encode import encode_text
from llmkit.errors import UserError
from llmkit.generation.generate import generate, max_running_rows
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import load_model


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def prompts(loaded):
    texts = [TEXT[i % 3][: 5 + 3 * i] for i in range(16)]
    return encode_text(texts, loaded[1])


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_completions_do_not_depend_on_the_batch(loaded, prompts, batch_size):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=12)
    together = generate(model, tokenizer, prompts, settings, batch_size)
    alone = [generate(model, tokenizer, [prompt], settings, 1)[0] for prompt in prompts]
    assert together == alone


def test_greedy_decoding_takes_the_argmax_of_the_model(loaded, prompts):
    model, tokenizer = loaded
    ids = list(prompts[3])
    for _ in range(6):
        ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
    expected = tokenizer.decode(ids[len(prompts[3]) :])
    ((completion,),) = generate(model, tokenizer, [prompts[3]], Generation(max_new_tokens=6), 1)
    assert completion == Prediction(expected, ended=False)


def test_completions_respect_minimum_and_maximum_length(loaded, prompts):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=9, min_new_tokens=9)
    stop = generate(model, tokenizer, prompts[:1], Generation(max_new_tokens=9), 1)[0][0]
    assert stop.text
    model.generation_config.eos_token_id = None
    with torch.no_grad():  # a model that always wants to stop must not, before its time
        bias = torch.zeros(model.config.vocab_size)
        bias[tokenizer.eos_token_id] = 1e4
        hook = model.lm_head.register_forward_hook(lambda m, i, out: out + bias)
        short = generate(model, tokenizer, prompts[:2], Generation(max_new_tokens=9), 2)
        long = generate(model, tokenizer, prompts[:2], settings, 2)
        hook.remove()
    assert short == [[Prediction("", ended=True)]] * 2
    assert all(completion.text and not completion.ended for (completion,) in long)
    with pytest.raises(UserError, match="exceed the model's 128 positions"):
        generate(model, tokenizer, [[5] * 120], settings, 1)
    assert generate(model, tokenizer, [[5] * 119], settings, 1)[0][0].text
    with pytest.raises(UserError, match="prompt 2: the prompt is empty"):
        generate(model, tokenizer, [[5], []], settings, 1)


def test_generation_config_of_the_model_folder_is_ignored(tiny_gpt2, tmp_path, loaded, prompts):
    folder = tmp_path / "model"
    shutil.copytree(tiny_gpt2, folder)
    (folder / "generation_config.json").write_text(
        '{"repetition_penalty": 50.0, "no_repeat_ngram_size": 1, "max_length": 20}'
    )
    settings = Generation(max_new_tokens=12)
    expected = generate(*loaded, prompts, settings, 4)
    assert generate(*load_model(str(folder)), prompts, settings, 4) == expected


def test_sampling_is_seeded_and_beam_search_returns_several_sequences(loaded, prompts):
    model, tokenizer = loaded
    sampled = Generation(
        max_new_tokens=12, temperature=1.0, top_k=50, top_p=0.9, num_return_sequences=3
    )

    def sample(seed):
        return generate(model, tokenizer, prompts[:2], sampled, 2, seed)

    assert sample(1) == sample(1) != sample(2)
    assert [len(set(texts)) for texts in sample(1)] == [3, 3]
    beams = Generation(max_new_tokens=5, num_beams=3, num_return_sequences=2)
    assert [len(t) for t in generate(model, tokenizer, prompts[:2], beams, 2)] == [2, 2]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "num_return_sequences": 3},
        {"temperature": 1.0, "num_beams": 2, "num_return_sequences": 2},
    ],
)
def test_samples_do_not_depend_on_the_batch(loaded, prompts, settings):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=8, **settings)

    def sample(batch_size, numbers=None):
        chosen = prompts if numbers is None else [prompts[number] for number in numbers]
        return generate(model, tokenizer, chosen, settings, batch_size, 5, numbers)

    whole = sample(32)
    assert len({texts[0] for texts in whole}) > len(whole) / 2
    for batch_size in (1, 2, 5):
        assert sample(batch_size) == whole
    for rank in (0, 1):  # as two processes share them
        assert sample(2, range(rank, len(prompts), 2)) == whole[rank::2]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.5},
        {"top_k": 3},
        {"num_return_sequences": 2},
        {"max_new_tokens": 0},
        {"max_new_tokens": 3, "min_new_tokens": 4},
    ],
)
def test_contradictory_decoding_settings_are_rejected(settings):
    with pytest.raises(ValidationError):
        Generation(**settings)


@pytest.mark.parametrize(
    ("batch_size", "row_bytes", "rows"),
    [(32, 2**20, 128), (32, 2**25, 64), (32, 2**27, 32), (1, 2**20, 4), (1, 2**40, 1)],
)
def test_more_rows_than_a_batch_run_if_their_cache_is_small(batch_size, row_bytes, rows):
    assert max_running_rows(batch_size, row_bytes) == rows
