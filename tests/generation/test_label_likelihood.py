"""Label likelihoods, compared with a separate forward pass for each label."""

import pytest
import torch
from forward_cases import LABELS, PROMPTS
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.errors import UserError
from llmkit.generation import label_likelihood as module
from llmkit.generation.label_likelihood import Trie, label_nll, label_probabilities, split_labels
from llmkit.model.load import load_model


@pytest.fixture(scope="module")
def model(tiny_gpt2):
    return load_model(str(tiny_gpt2))[0].double()


@torch.no_grad()
def nats_alone(model, prompt, label):
    """Negative log-likelihood by a plain forward pass over one sequence."""
    log_p = model(torch.tensor([prompt + label])).logits[0].log_softmax(-1)
    return -sum(log_p[len(prompt) - 1 + i, token].item() for i, token in enumerate(label))


@pytest.mark.parametrize("tail", [1, 8, 256])
def test_label_likelihoods_equal_those_of_plain_forward_passes(model, monkeypatch, tail):
    monkeypatch.setattr(module, "MAX_TRIE_TOKENS", tail)
    nats = label_nll(model.eval(), PROMPTS, list(LABELS.values()))
    for prompt, row in zip(PROMPTS, nats.tolist(), strict=True):
        expected = [nats_alone(model, prompt, label) for label in LABELS.values()]
        assert row == pytest.approx(expected, rel=1e-5)


def test_splitting_many_labels_into_tries_changes_no_likelihood(model):
    generator = torch.Generator().manual_seed(0)
    labels = [
        [*torch.randint(3, 9, (5,), generator=generator).tolist(), 100 + number, 2]
        for number in range(120)
    ]
    assert len(split_labels(labels)) == 4
    nats = label_nll(model.eval(), PROMPTS[:2], labels)
    for number in range(0, 120, 17):
        for prompt, row in zip(PROMPTS, nats.tolist(), strict=False):
            assert row[number] == pytest.approx(nats_alone(model, prompt, labels[number]), rel=1e-5)


def test_label_probabilities_do_not_depend_on_batch_or_order(model):
    whole = label_probabilities(model, PROMPTS, LABELS, batch_size=10)
    assert all(sum(row.values()) == pytest.approx(1) for row in whole)
    for size in (1, 2, 3):
        other = label_probabilities(
            model, PROMPTS[::-1], dict(reversed(LABELS.items())), batch_size=size
        )
        for row, expected in zip(other[::-1], whole, strict=True):
            assert row == pytest.approx(expected, rel=1e-5)


def test_a_prompt_without_room_for_the_labels_is_rejected(model):
    room = model.config.n_positions - 4
    assert label_probabilities(model, [[1] * room], LABELS, 1)
    with pytest.raises(UserError, match=f"prompt 2: {room + 1} tokens"):
        label_probabilities(model, [[1], [1] * (room + 1)], LABELS, 1)


TOKENS = st.lists(st.integers(3, 5), min_size=1, max_size=6)


@settings(max_examples=100)
@given(st.lists(TOKENS, min_size=1, max_size=30, unique_by=tuple))
def test_a_trie_has_one_state_per_distinct_prefix_of_the_labels(texts):
    labels = [[*text, 2] for text in texts]
    trie = Trie.of(labels)
    beginnings = {tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)}
    assert len(trie.tokens) == len(beginnings)
    states = [()]
    for index, token in enumerate(trie.tokens):
        seen = trie.sees[index].nonzero().flatten().tolist()
        states.append(tuple(trie.tokens[i] for i in sorted(seen, key=lambda i: trie.depths[i])))
        assert states[-1][-1] == token
        assert len(states[-1]) == trie.depths[index] + 1
    assert set(states[1:]) == beginnings
    for label, path in zip(labels, trie.paths, strict=True):
        assert [trie.targets[node] for node in path] == label
        assert [states[trie.parents[node]] for node in path] == [
            tuple(label[:end]) for end in range(len(label))
        ]
    assert trie.parents == sorted(trie.parents)


def test_every_query_attends_to_some_key_even_under_autocast(tiny_gpt2, monkeypatch):
    """Some GPU kernels return NaN for a query whose keys are all masked, and a float32 mask
    becomes one of -inf in bf16."""
    model = load_model(str(tiny_gpt2))[0].eval()
    masks = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def recorded(query, key, value, attn_mask=None, **settings):
        masks.append((query.dtype, attn_mask))
        return attend(query, key, value, attn_mask=attn_mask, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", recorded)
    precise = label_nll(model, PROMPTS, list(LABELS.values()))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = label_nll(model, PROMPTS, list(LABELS.values()))
    assert len(masks) == 4 * model.config.n_layer
    for dtype, mask in masks:
        assert mask.dtype in (torch.bool, dtype)
        is_seen = mask if mask.dtype == torch.bool else mask == 0
        assert is_seen.any(-1).all()
        assert mask.dtype == torch.bool or mask.isfinite().all()
    assert rounded.isfinite().all()
    assert torch.allclose(precise, rounded, rtol=0.02)


def test_nan_in_the_model_output_raises_an_error(tiny_gpt2):
    model, _ = load_model(str(tiny_gpt2))
    with torch.no_grad():
        model.transformer.ln_f.weight[3] = float("nan")
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        label_probabilities(model, [[5, 6]], {"yes": [7, 0], "no": [8, 0]}, 1)
