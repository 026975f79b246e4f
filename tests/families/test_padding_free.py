"""The forward pass without padding against the model's own: loss, gradients, training, dropout."""

import math

import pytest
import torch
from forward_cases import (
    CASES,
    assert_both_forward_passes_agree,
    assert_close_to_float32,
    loss_and_gradients,
    rows_of,
    small_model,
    trained_model,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from llmkit.families.padding_free import (
    MAX_BUNDLED_SCORES,
    FastDropout,
    RowAttention,
    bundle_rows,
    library_attention,
)
from llmkit.model import loss as loss_file
from llmkit.model.trainable import set_dropout


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("trained", ["full", "lora", "frozen"])
def test_padding_free_loss_and_gradients_equal_those_of_transformers(case, trained):
    assert_both_forward_passes_agree(trained_model(trained), CASES[case])


def test_the_loss_does_not_depend_on_how_many_logits_are_computed_at_once(monkeypatch):
    model = small_model()
    whole = loss_and_gradients(model, CASES["ragged"], "padding_free")
    monkeypatch.setattr(loss_file, "LOGIT_ROWS", 7)
    loss, gradients = loss_and_gradients(model, CASES["ragged"], "padding_free")
    assert loss == pytest.approx(whole[0], rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, whole[1][name], rtol=1e-4, atol=1e-5)


def test_both_forward_passes_train_alike_for_fifty_steps():
    losses = {}
    for forward in ("transformers", "padding_free"):
        model = small_model(128)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        losses[forward] = []
        for step in range(50):
            batch = rows_of([step % 3 + 2, 40, 17, 60], seed=step % 3)
            count = sum(label >= 0 for row in batch for label in row["labels"][1:])
            loss, _ = loss_and_gradients(model, batch, forward)
            for parameter in model.parameters():
                parameter.grad /= count
            optimizer.step()
            losses[forward].append(loss / count)
    assert losses["padding_free"] == pytest.approx(losses["transformers"], abs=1e-4)
    assert losses["padding_free"][-1] < losses["padding_free"][0] - 0.1


def test_padding_free_in_bf16_stays_close_to_float32():
    assert_close_to_float32("cpu", torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.013])
def test_fast_dropout_keeps_its_probability_and_the_expectation(dtype, rate):
    torch.manual_seed(3)
    layer, x = nn.Dropout(rate), torch.full((1000, 1001), 3.0, dtype=dtype)
    dropped = FastDropout(x.device).add(torch.zeros(x.shape), x, layer)
    share = (dropped == 0).float().mean().item()
    assert share == pytest.approx(rate, abs=6 * math.sqrt(rate / 1e6))
    assert dropped.float().mean().item() == pytest.approx(3.0, rel=6 * math.sqrt(rate / 1e6))
    neighbours = ((dropped[:, 1:] == 0) & (dropped[:, :-1] == 0)).float().mean().item()
    assert neighbours == pytest.approx(rate**2, abs=6 * math.sqrt(rate**2 / 1e6))


@pytest.mark.parametrize("rate", [1e-9, 1 - 1e-9])
def test_fast_dropout_with_extreme_probabilities_keeps_or_drops_nearly_all(rate):
    mask = FastDropout(torch.device("cpu")).mask(torch.Size([1000, 1000]), rate, torch.float32)
    assert (mask == 0).double().mean().item() == pytest.approx(rate, abs=1e-4)


@given(st.lists(st.integers(2, 600), min_size=1, max_size=60))
def test_bundles_hold_every_row_once_and_few_attention_scores(lengths):
    bundles = bundle_rows(lengths)
    rows = [row for bundle in bundles for row in bundle]
    assert [row.stop - row.start for row in rows] == lengths
    assert [row.start for row in rows] == [sum(lengths[:i]) for i in range(len(lengths))]
    for bundle in bundles:
        longest = max(row.stop - row.start for row in bundle)
        assert len(bundle) == 1 or len(bundle) * longest**2 <= MAX_BUNDLED_SCORES


def test_dropout_follows_the_seed_and_the_probabilities_of_the_model():
    model = small_model(128)
    set_dropout(model, 0.3)

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return loss_and_gradients(model, CASES["one row"], "padding_free")[0]

    assert loss(1) == loss(1) != loss(2)
    model.eval()
    assert loss(1) == loss(2)


@pytest.mark.parametrize("case", ["one row", "equal rows", "ragged"])
def test_the_gradient_under_dropout_is_the_derivative_of_the_loss(case):
    model = small_model(512).double()
    set_dropout(model, 0.2)
    rows = CASES[case]

    def loss() -> float:
        torch.manual_seed(5)
        return loss_and_gradients(model, rows, "padding_free")

    _, gradients = loss()
    weights = dict(model.named_parameters())
    for name in ("wte", "h.0.attn.c_attn", "h.1.attn.c_proj", "h.2.mlp.c_fc"):
        name = f"transformer.{name}.weight"
        torch.manual_seed(6)
        direction = torch.randn_like(weights[name])
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                weights[name].add_(direction, alpha=sign * 1e-6)
            sides.append(loss()[0])
            with torch.no_grad():
                weights[name].add_(direction, alpha=-sign * 1e-6)
        slope = (sides[0] - sides[1]) / 2e-6
        assert slope == pytest.approx((gradients[name] * direction).sum().item(), rel=1e-4), name


@pytest.mark.parametrize("lengths", [[1], [2, 5, 3], [300, 7, 299]])
def test_attention_by_pytorch_equals_row_attention(lengths):
    """The attention of accelerators other than CUDA's, here on the CPU."""
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3 * 32, dtype=torch.float64, requires_grad=True)
    ours = RowAttention.apply(qkv, bundle_rows(lengths), 4, 0.0, None)
    weight = torch.randn_like(ours)
    (expected,) = torch.autograd.grad((ours * weight).sum(), qkv)
    other = library_attention(qkv, lengths, 4, 0.0)
    torch.testing.assert_close(other, ours)
    torch.testing.assert_close(torch.autograd.grad((other * weight).sum(), qkv)[0], expected)


@pytest.mark.parametrize("wanted", [False, True])
def test_attention_saves_probabilities_only_if_a_gradient_is_needed(wanted):
    class Context:
        needs_input_grad = (wanted,)

        def save_for_backward(self, *tensors):
            self.kept = tensors

    context, lengths = Context(), [300, 7]
    RowAttention.forward(context, torch.randn(307, 3 * 32), bundle_rows(lengths), 4, 0.0, None)
    assert (len(context.kept) > 1) == wanted
