"""The loss: against Hugging Face's own, and its invariances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_gpt2 import loss_and_gradients

from llmkit.batches import collate
from llmkit.loss import IGNORE_INDEX, SupervisedLoss, num_supervised
from llmkit.model import fuse_gelu, load_model, set_dropout


@pytest.fixture(scope="module")
def model(tiny_gpt2):
    return load_model(str(tiny_gpt2))[0].eval()


def row(length, num_prompt, seed=0):
    ids = torch.randint(1, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return {"input_ids": ids, "labels": [IGNORE_INDEX] * num_prompt + ids[num_prompt:]}


def test_equals_the_loss_of_hugging_face(model):
    batch = collate([row(20, 5, seed=1), row(20, 0, seed=2)])
    expected = model(**batch).loss * num_supervised(batch["labels"])
    torch.testing.assert_close(SupervisedLoss(model)(**batch), expected, rtol=1e-6, atol=0)


@settings(max_examples=50)
@given(
    shapes=st.lists(
        st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
        min_size=1,
        max_size=6,
    )
)
def test_a_batch_is_the_sum_of_its_rows(model, shapes):
    """Padding, ragged lengths and rows without a label change nothing."""
    rows = [row(length, prompt, seed=i) for i, (length, prompt) in enumerate(shapes)]
    loss = SupervisedLoss(model)
    alone = sum(loss(**collate([one])).item() for one in rows)
    assert loss(**collate(rows)).item() == pytest.approx(alone, rel=1e-5, abs=1e-5)


def test_each_label_owns_one_term(model):
    """Taking one label away takes away exactly that token's loss: nothing is shifted twice."""
    whole = row(12, 4)
    logprobs = model(torch.tensor([whole["input_ids"]])).logits[0].log_softmax(-1)
    loss = SupervisedLoss(model)
    total = loss(**collate([whole])).item()
    for position in range(4, 12):
        labels = list(whole["labels"])
        labels[position] = IGNORE_INDEX
        term = total - loss(**collate([{**whole, "labels": labels}])).item()
        expected = -logprobs[position - 1, whole["input_ids"][position]].item()
        assert term == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_loss_and_gradients_are_those_of_the_papers(tiny_gpt2, seed):
    """Against GPT-2 in NumPy, on random weights and random batches, ragged and padded."""
    model = load_model(str(tiny_gpt2))[0].double()
    fuse_gelu(model)
    set_dropout(model, 0.0)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    lengths = torch.randint(2, 40, (4,)).tolist()
    rows = [row(n, int(torch.randint(0, n, ())), seed=seed + n) for n in lengths]
    loss = SupervisedLoss(model.train())(**collate(rows))
    loss.backward()

    weights = {name: p.detach().numpy() for name, p in model.transformer.named_parameters()}
    expected, count, gradients = loss_and_gradients(
        weights, [(r["input_ids"], r["labels"]) for r in rows], model.config.n_head
    )
    assert count == num_supervised(collate(rows)["labels"])
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    for name, parameter in model.transformer.named_parameters():
        difference = np.linalg.norm(parameter.grad.numpy() - gradients[name])
        assert difference <= 1e-10 * max(np.linalg.norm(gradients[name]), 1e-6), name


def test_an_empty_micro_batch_has_no_loss_and_no_gradient(model):
    loss = SupervisedLoss(model)(**collate([]))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    model.zero_grad(set_to_none=True)


def packed_rows(seed, count=6):
    lengths = torch.randint(2, 40, (count,), generator=torch.Generator().manual_seed(seed))
    return [row(int(n), int(n) // 3, seed=seed + i) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("seed", range(5))
def test_packed_rows_give_the_loss_and_gradient_of_rows_alone(tiny_gpt2, attention, seed):
    model = load_model(str(tiny_gpt2))[0].eval()
    model.set_attn_implementation(attention)
    rows = packed_rows(seed)
    results = []
    for batches in ([collate([one]) for one in rows], [collate(rows, capacity=100)]):
        loss = sum(SupervisedLoss(model)(**batch) for batch in batches)
        loss.backward()
        results.append((loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
        model.zero_grad(set_to_none=True)
    (alone, gradient), (packed, packed_gradient) = results
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=0)
    assert (packed_gradient - gradient).norm() <= 1e-5 * gradient.norm()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_do_not_see_each_other(tiny_gpt2, attention):
    """Another neighbour, of the same length, moves a row's own loss by exactly nothing."""
    model = load_model(str(tiny_gpt2))[0].eval()
    model.set_attn_implementation(attention)
    for seed in range(20):
        *neighbours, own = packed_rows(seed)
        losses = set()
        for change in range(3):
            others = [
                {**r, "input_ids": [(t + change) % 300 for t in r["input_ids"]]} for r in neighbours
            ]
            silent = [{**r, "labels": [IGNORE_INDEX] * len(r["labels"])} for r in others]
            losses.add(SupervisedLoss(model)(**collate([*silent, own], capacity=100)).item())
        assert len(losses) == 1
