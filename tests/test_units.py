"""Parsing and formatting durations, sizes and shares."""

import pytest

from llmkit.errors import UserError
from llmkit.units import parse_bytes, parse_duration, show_bytes, show_percent, show_seconds


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


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
        (200, "3 min 20 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min"), (3 * 86_400, "3 d 00 h"),
    ],
)  # fmt: skip
def test_seconds_are_shown_with_two_units_at_most(seconds, shown):
    assert show_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [
        (0, "0 B"), (316, "316 B"), (2210, "2.2 kB"), (123_700, "124 kB"), (999_600, "1.0 MB"),
        (1.25e6, "1.2 MB"), (9.96e6, "10 MB"),
        (99e6, "99 MB"), (999.9e6, "1.00 GB"), (12.34e9, "12.3 GB"), (234.5e9, "234 GB"),
        (1.2e12, "1.20 TB"),
    ],
)  # fmt: skip
def test_bytes_are_shown_with_three_digits_at_most(num_bytes, shown):
    assert show_bytes(num_bytes) == shown


def test_a_share_is_shown_as_a_percentage():
    assert show_percent(0.125) == "12.5%"
    assert show_percent(0.1234567) == "12.3457%"
    assert show_percent(0.1234567, 3) == "12.3%"
