"""Data sheets of devices, and finding them by name."""

import pytest

from llmkit.errors import UserError
from llmkit.planning.devices import DEVICES, find_device


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("a100", "a100"), ("A100-SXM", "a100"), ("nvidia-a100", "a100"), ("RTX 4090", "rtx-4090"),
        ("GeForce RTX 3090", "rtx-3090"), ("tesla t4", "t4"), ("h100_pcie", "h100-pcie"),
    ],
)  # fmt: skip
def test_a_device_is_found_in_any_spelling(typed, name):
    assert find_device(typed).name == name


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("a1000", "did you mean a100?"), ("rtx-4095", "did you mean rtx-4090?"), ("toaster", "a100")],
)
def test_an_unknown_device_is_rejected_with_the_nearest_name(typed, hint):
    with pytest.raises(UserError, match=r"^--device: unknown device .*known devices") as error:
        find_device(typed)
    assert hint in str(error.value)
    assert "\n" not in str(error.value)


def test_half_precision_is_faster_than_float32_and_old_cards_have_no_bf16():
    for device in DEVICES.values():
        assert all(rate >= device.rates["no"] for rate in device.rates.values())
        assert device.num_bytes > 1e9
        assert device.bandwidth > 1
    chosen = {name: DEVICES[name].precision for name in ("p100", "v100", "t4", "l4", "h100")}
    assert chosen == {"p100": "no", "v100": "fp16", "t4": "fp16", "l4": "bf16", "h100": "bf16"}
