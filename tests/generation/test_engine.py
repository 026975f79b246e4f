"""Continuous batching, compared with Hugging Face's `generate` and with plain forward passes."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from llmkit.config.generation import Generation
from llmkit.errors import UserError
from llmkit.generation import engine as module
from llmkit.generation.engine import Engine
from llmkit.generation.request import Request
from llmkit.model.load import load_model

NUM_PROMPTS = 24


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def prompts(loaded):
    """Prompts of 1 to 70 tokens, half of which share a prefix."""
    rng = np.random.default_rng(0)
    vocab_size = loaded[0].config.vocab_size
    shared = rng.integers(1, vocab_size, 40).tolist()
    return [
        (shared[: rng.integers(10, 40)] if index % 2 else [])
        + rng.integers(1, vocab_size, rng.integers(1, 30)).tolist()
        for index in range(NUM_PROMPTS)
    ]


def run(engine, requests):
    """Complete the requests in one batch; return their sequences in order."""
    sequences = [engine.add(request) for request in requests]
    while not engine.is_idle:
        engine.step()
    return sequences


def greedy_alone(model, prompt, num_tokens, eos_token_id):
    output = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        generation_config=GenerationConfig(
            max_new_tokens=num_tokens, eos_token_id=eos_token_id, pad_token_id=eos_token_id
        ),
    )
    tokens = output[0, len(prompt) :].tolist()
    return tokens[: tokens.index(eos_token_id)] if eos_token_id in tokens else tokens


@pytest.mark.parametrize("max_rows", [1, 3, 8, NUM_PROMPTS])
def test_batched_greedy_completions_equal_those_of_generate(loaded, prompts, max_rows):
    model, tokenizer = loaded
    counts = np.random.default_rng(1).integers(1, 25, NUM_PROMPTS).tolist()
    requests = [
        Request(prompt, Generation(max_new_tokens=count))
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    sequences = run(Engine(model, tokenizer, max_rows), requests)
    for sequence, prompt, count in zip(sequences, prompts, counts, strict=True):
        expected = greedy_alone(model, prompt, count, tokenizer.eos_token_id)
        assert sequence.token_ids == expected
        assert sequence.finish_reason == ("length" if len(expected) == count else "stop")


def test_sampled_completions_depend_only_on_their_key(loaded, prompts):
    model, tokenizer = loaded
    settings = [
        Generation(max_new_tokens=9, temperature=1.3, top_k=k, top_p=p)
        for k, p in ((0, 1.0), (20, 1.0), (0, 0.8))
    ]
    requests = [
        Request(prompt, settings[index % 3], (7, index)) for index, prompt in enumerate(prompts)
    ]
    together = run(Engine(model, tokenizer, 5), requests)
    assert len({tuple(sequence.token_ids) for sequence in together}) > NUM_PROMPTS / 2
    for request, sequence in zip(requests, together, strict=True):
        (alone,) = run(Engine(model, tokenizer, 1), [request])
        assert sequence.token_ids == alone.token_ids


def test_a_draw_selects_the_token_by_cumulative_probability(loaded, prompts):
    model, tokenizer = loaded
    request = Request(prompts[3], Generation(max_new_tokens=12, temperature=0.7), (5, 2))
    (sequence,) = run(Engine(model, tokenizer, 1), [request])
    tokens, draws = list(prompts[3]), np.random.default_rng((5, 2)).random(12)
    with torch.no_grad():
        for draw in draws[: len(sequence.token_ids)]:
            logits = model(torch.tensor([tokens])).logits[0, -1].double()
            cumulative = (logits / 0.7).softmax(0).cumsum(0)
            tokens.append(int((cumulative <= draw).sum()))
    assert tokens[len(prompts[3]) :] == sequence.token_ids


def test_the_slot_of_a_finished_row_is_reused_in_the_next_step(loaded):
    model, tokenizer = loaded
    engine = Engine(model, tokenizer, 2)
    lengths = [1, 6, 2, 3]  # the rows of 1, 2 and 3 tokens share one slot, that of 6 has its own
    sequences = [
        engine.add(Request([5 + index], Generation(max_new_tokens=n, min_new_tokens=n)))
        for index, n in enumerate(lengths)
    ]
    running = []
    while not engine.is_idle:
        running.append([sequences.index(sequence) for sequence in engine.step()])
    assert running == [[0, 1], [1, 2], [1, 2], [1, 3], [1, 3], [1, 3]]


@contextmanager
def counting_read_tokens(model):
    """Context with a list that records the number of tokens in each forward pass."""
    counts = []
    hook = model.get_input_embeddings().register_forward_hook(
        lambda layer, args, output: counts.append(len(args[0]))
    )
    yield counts
    hook.remove()


def test_earlier_turns_of_a_conversation_are_not_recomputed(loaded):
    model, tokenizer = loaded
    engine = Engine(model, tokenizer, 1)
    first = Request(list(range(5, 45)), Generation(max_new_tokens=6, min_new_tokens=6))
    with counting_read_tokens(model) as counts:
        (answer,) = run(engine, [first])
    assert counts == [40, 1, 1, 1, 1, 1]
    second = Request(first.prompt + answer.token_ids + [7, 8, 9], first.generation)
    with counting_read_tokens(model) as counts:
        (reused,) = run(engine, [second])
    assert counts[0] == 4, "the last generated token was never read, and three are new"
    (alone,) = run(Engine(model, tokenizer, 1), [second])
    assert reused.token_ids == alone.token_ids


def test_a_shared_prefix_is_computed_once(loaded):
    model, tokenizer = loaded
    prefix = list(range(5, 65))
    requests = [
        Request([*prefix, 100 + index, 7], Generation(max_new_tokens=2, min_new_tokens=2))
        for index in range(6)
    ]
    with counting_read_tokens(model) as counts:
        run(Engine(model, tokenizer, 6), requests)
    num_prompt_tokens = 62 + 5 * 2
    assert sum(counts) == num_prompt_tokens + 6  # each completion's second token needs its first


def test_the_prompt_tokens_of_a_step_are_limited(loaded, monkeypatch):
    model, tokenizer = loaded
    monkeypatch.setattr(module, "MAX_PROMPT_TOKENS", 50)
    requests = [Request([index + 5] * 30, Generation(max_new_tokens=1)) for index in range(3)]
    requests.append(Request(list(range(5, 75)), Generation(max_new_tokens=1)))
    with counting_read_tokens(model) as counts:
        run(Engine(model, tokenizer, 4), requests)
    assert counts == [30, 30, 30, 70], "one prompt always joins, however long it is"


def test_the_cache_is_allocated_once(loaded, prompts):
    engine = Engine(*loaded, 4)
    before = engine.cache.keys_values.data_ptr()
    run(engine, [Request(prompt, Generation(max_new_tokens=5)) for prompt in prompts])
    assert engine.cache.keys_values.data_ptr() == before


def test_cancelled_requests_leave_the_batch_without_changing_others(loaded, prompts):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=8, min_new_tokens=8)
    engine = Engine(model, tokenizer, 3)
    sequences = [engine.add(Request(prompt, settings)) for prompt in prompts[:6]]
    engine.step()
    engine.step()
    for index in (0, 2, 5):  # two run, one waits
        engine.cancel(sequences[index])
    assert (engine.num_running, engine.num_waiting) == (1, 2)
    while not engine.is_idle:
        engine.step()
    assert [s.finish_reason for s in sequences[::5]] == ["cancelled", "cancelled"]
    assert len(sequences[0].token_ids) == 2
    assert not sequences[5].token_ids
    engine.cancel(sequences[1])
    assert sequences[1].finish_reason == "length", "an ended request stays as it is"
    for index in (1, 3, 4):
        (alone,) = run(Engine(model, tokenizer, 1), [Request(prompts[index], settings)])
        assert sequences[index].token_ids == alone.token_ids


def test_the_number_of_rows_is_limited_by_free_memory(loaded, monkeypatch):
    model, tokenizer = loaded
    row = 2 * model.config.n_layer * model.config.n_embd * 4 * 100
    monkeypatch.setattr(module, "available_bytes", lambda device: 7 * row)
    assert Engine(model, tokenizer, 50, max_length=100).max_rows == 3
    monkeypatch.setattr(module, "available_bytes", lambda device: 0)
    assert Engine(model, tokenizer, 50, max_length=100).max_rows == 1


@pytest.mark.parametrize(
    ("prompt", "max_length", "message"),
    [
        ([], None, "the prompt is empty"),
        ([5] * 120, None, "exceed the model's 128 positions"),
        ([5] * 20, 28, "20 tokens and up to 9 new ones exceed the limit of 28"),
    ],
)
def test_requests_that_exceed_the_context_are_rejected(loaded, prompt, max_length, message):
    engine = Engine(*loaded, 1, max_length)
    with pytest.raises(UserError, match=message):
        engine.add(Request(prompt, Generation(max_new_tokens=9)))
    assert engine.is_idle


def test_nan_in_the_model_output_raises_an_error(tiny_gpt2):
    model, tokenizer = load_model(str(tiny_gpt2))
    with torch.no_grad():
        model.transformer.ln_f.weight[3] = float("nan")
    engine = Engine(model, tokenizer, 1)
    engine.add(Request([5, 6], Generation(temperature=1.0)))
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        engine.step()
