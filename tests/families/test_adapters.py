"""Linear layers with adapters, against the layers of peft."""

from collections.abc import Callable

import pytest
import torch
from forward_cases import small_model
from torch import Tensor, nn

from llmkit.config.schema import Lora
from llmkit.families.adapters import AdaptedLinear, linear
from llmkit.model.trainable import add_lora

NAMES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def adapted_layer(name: str = "attn.c_attn", **lora) -> nn.Module:
    """A layer with an adapter that changes its output."""
    model = add_lora(small_model(), Lora(**lora), 0)
    layer = model.get_submodule(f"base_model.model.transformer.h.1.{name}").double()
    torch.manual_seed(0)
    nn.init.normal_(layer.lora_B["default"].weight, std=0.5)
    return layer.train()


def inputs_of(layer: nn.Module, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(7, layer.in_features, dtype=dtype, requires_grad=True)


def results(compute: Callable[[Tensor], Tensor], layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of input and adapter for a loss that weighs each output."""
    layer.zero_grad()
    x.grad = None
    y = compute(x)
    (y * torch.arange(y.numel()).view_as(y).cos()).sum().backward()
    trained = [weight.grad for weight in layer.parameters() if weight.requires_grad]
    return [y.detach(), x.grad, *trained]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", [1, 5, 8])
def test_output_and_gradients_are_those_of_peft(name, rank):
    layer = adapted_layer(name, r=rank, lora_alpha=3)
    x = inputs_of(layer)
    assert type(linear(layer, x).grad_fn).__name__ == "AdaptedLinearBackward"
    found = results(lambda x: linear(layer, x), layer, x)
    torch.testing.assert_close(found, results(layer, layer, x), rtol=1e-12, atol=1e-12)
    assert len(found) == 4
    assert all(weight.grad is None for weight in layer.base_layer.parameters())


def test_gradients_are_the_derivatives_of_the_output():
    layer = adapted_layer(r=3)
    base, a, b = layer.base_layer, layer.lora_A["default"].weight, layer.lora_B["default"].weight

    def output(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return AdaptedLinear.apply(x, base.weight, base.bias, a, b, 2.0)

    assert torch.autograd.gradcheck(output, (inputs_of(layer), a, b), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_in_the_precision_of_autocast_and_gradients_in_that_of_the_weights(dtype):
    layer = adapted_layer().float()
    x = inputs_of(layer, dtype)
    exact = results(layer, layer.double(), x.detach().double().requires_grad_())
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        y, grad_x, *of_adapter = results(lambda x: linear(layer, x), layer, x)
    assert y.dtype == torch.bfloat16
    assert grad_x.dtype == dtype
    assert {gradient.dtype for gradient in of_adapter} == {torch.float32}
    for found, expected in zip((y, grad_x, *of_adapter), exact, strict=True):
        assert (found - expected).norm() <= 0.02 * expected.norm()


def test_an_input_without_a_gradient_gets_none():
    layer = adapted_layer()
    x = inputs_of(layer).detach()
    linear(layer, x).sum().backward()
    assert x.grad is None
    assert layer.lora_A["default"].weight.grad is not None


def merge(layer: nn.Module) -> None:
    layer.merge()


def disable(layer: nn.Module) -> None:
    layer.enable_adapters(False)


@pytest.mark.parametrize("change", [merge, disable, nn.Module.eval])
def test_everything_but_a_trained_adapter_is_left_to_the_layer(change):
    layer = adapted_layer(lora_dropout=0.5 if change is nn.Module.eval else 0.0)
    change(layer)
    x = inputs_of(layer).detach()
    y = linear(layer, x)
    assert "AdaptedLinear" not in type(y.grad_fn).__name__
    torch.testing.assert_close(y, layer(x), rtol=0, atol=0)


def test_the_dropout_of_an_adapter_is_drawn_by_the_layer():
    layer = adapted_layer(lora_dropout=0.5)
    x = inputs_of(layer)
    drawn = []
    for compute in (lambda x: linear(layer, x), layer):
        torch.manual_seed(1)
        drawn.append(results(compute, layer, x))
    torch.testing.assert_close(*drawn, rtol=0, atol=0)


def test_layers_compute_themselves_where_nothing_is_trained():
    layer = adapted_layer()
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, x := inputs_of(layer)), layer(x), rtol=0, atol=0)
    plain = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    torch.testing.assert_close(linear(plain, x), plain(x), rtol=0, atol=0)
