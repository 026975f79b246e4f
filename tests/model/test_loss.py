"""The loss: against Hugging Face's own, and its invariances."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.constants import IGNORE_INDEX
from llmkit.data.batches import UNLIMITED, collate
from llmkit.model.load import load_model
from llmkit.model.loss import SumCrossEntropy, SupervisedLoss, additive_mask, packed_mask


@pytest.fixture(scope="module")
def model(tiny_gpt2):
    return load_model(str(tiny_gpt2))[0].eval()


@pytest.fixture(scope="module", params=["padding_free", "transformers"])
def loss_of(model, request):
    """The loss of rows, by either forward pass."""
    capacity = UNLIMITED if request.param == "padding_free" else None
    return lambda rows: SupervisedLoss(model, request.param)(collate(rows, capacity))


def row(length, num_prompt, seed=0):
    ids = torch.randint(1, 300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return {"input_ids": ids, "labels": [IGNORE_INDEX] * num_prompt + ids[num_prompt:]}


def test_the_loss_equals_that_of_hugging_face(model, loss_of):
    rows = [row(20, 5, seed=1), row(20, 0, seed=2)]
    ids, labels = (torch.tensor([row[name] for row in rows]) for name in ("input_ids", "labels"))
    expected = model(ids, labels=labels).loss * (labels[:, 1:] != IGNORE_INDEX).sum()
    torch.testing.assert_close(loss_of(rows), expected, rtol=1e-6, atol=0)


@settings(max_examples=50)
@given(
    shapes=st.lists(
        st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
        min_size=1,
        max_size=6,
    )
)
def test_the_loss_of_a_batch_is_the_sum_over_its_rows(loss_of, shapes):
    """Padding, ragged lengths and rows without a label change nothing."""
    rows = [row(length, prompt, seed=i) for i, (length, prompt) in enumerate(shapes)]
    alone = sum(loss_of([one]).item() for one in rows)
    assert loss_of(rows).item() == pytest.approx(alone, rel=1e-5, abs=1e-5)


def test_each_label_contributes_one_term_to_the_loss(model, loss_of):
    """Removing one label removes exactly that token's loss: nothing is shifted twice."""
    whole = row(12, 4)
    logprobs = model(torch.tensor([whole["input_ids"]])).logits[0].log_softmax(-1)
    total = loss_of([whole]).item()
    for position in range(4, 12):
        labels = list(whole["labels"])
        labels[position] = IGNORE_INDEX
        term = total - loss_of([{**whole, "labels": labels}]).item()
        expected = -logprobs[position - 1, whole["input_ids"][position]].item()
        assert term == pytest.approx(expected, abs=1e-4)


def test_an_empty_micro_batch_has_no_loss_and_no_gradient(model, loss_of):
    loss = loss_of([])
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
        loss = sum(SupervisedLoss(model, "transformers")(batch) for batch in batches)
        loss.backward()
        results.append((loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
        model.zero_grad(set_to_none=True)
    (alone, gradient), (packed, packed_gradient) = results
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=0)
    assert (packed_gradient - gradient).norm() <= 1e-5 * gradient.norm()


@pytest.mark.parametrize("mean", [0.01, 1, 60, 70, 200])
def test_the_gradient_of_the_head_does_not_overflow_in_float16(mean):
    """Many positions of one frequent target and a large hidden unit sum to more than 65,504."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1024, 8, generator=generator)
    hidden[:, 3] = mean
    weight = torch.randn(50, 8, generator=generator) / 100
    targets = torch.zeros(1024, dtype=torch.long)
    gradients = []
    for dtype in (torch.float16, None):
        tensors = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        with torch.autocast("cpu", dtype or torch.float16, enabled=dtype is not None):
            loss = SumCrossEntropy.apply(*tensors, targets)
        (loss / 1024).backward()
        gradients.append([tensor.grad for tensor in tensors])
    for half, exact in zip(*gradients, strict=True):
        assert (half - exact).norm() <= 2e-3 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_attention_masks_stay_finite_under_autocast(dtype):
    """Also for a query that sees nothing, such as one of padding."""
    is_seen = torch.tensor([[[False, False], [True, False]]])
    mask = additive_mask(is_seen, torch.float32).to(dtype)
    q, k, v = torch.randn(3, 1, 1, 2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    out = F.scaled_dot_product_attention(q, k, v, mask)
    assert out.isfinite().all()
    assert torch.equal(out[0, 0, 1], v[0, 0, 0])


def test_a_token_of_a_packed_sequence_attends_to_its_own_row_alone():
    row_ids = torch.tensor([[0, 0, 1, -1], [0, 1, -1, -1]])
    seen = packed_mask(row_ids, torch.float32)[:, 0] == 0
    rows = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert seen[0].int().tolist() == rows
    assert seen.diagonal(dim1=1, dim2=2).all(), "padding sees itself"
