"""Parsing durations and sizes."""

import pytest

from llmkit.errors import UserError, show_seconds
from llmkit.planning.units import parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("45m", 2700), ("45min", 2700), ("3h", 10_800), ("1h30m", 5400),
        ("1h 30m", 5400), ("2d", 172_800), ("0.5h", 1800), (".5h", 1800), (" 3H ", 10_800),
    ],
)  # fmt: skip
def test_durations_have_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["3x", "0", "0h", "-3h", "3", "", "h", "3h-1m", "nan h", "1e3h", "inf", "3 hours ago"]
)
def test_invalid_durations_are_rejected_in_one_line(text):
    with pytest.raises(UserError, match=r"^--budget: .*write 90s, 45m, 3h or 1h30m$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("16GB", 16e9), ("16G", 16e9), ("16 gb", 16e9), ("512MB", 512e6), ("24GiB", 24 * 2**30),
        ("0.5TB", 5e11), ("1.5g", 1.5e9),
    ],
)  # fmt: skip
def test_sizes_have_units(text, num_bytes):
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["16", "0GB", "-1GB", "lots", "", "GB", "16 GBs", "1e9", "16KB"])
def test_invalid_sizes_are_rejected_in_one_line(text):
    with pytest.raises(UserError, match=r"^--memory: .*write 16GB, 512MB or 24GiB$"):
        parse_bytes(text)


@pytest.mark.parametrize("seconds", [1, 61, 3601, 90_000])
def test_formatted_durations_can_be_parsed(seconds):
    assert parse_duration(show_seconds(seconds)) == pytest.approx(seconds, rel=0.05)
