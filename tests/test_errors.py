"""The parts of messages: counts, places, suggestions, escaped text, durations and sizes."""

import pytest

from llmkit.errors import (
    count_of,
    did_you_mean,
    first_few,
    printable,
    show_bytes,
    show_seconds,
)


def test_text_from_a_file_stays_on_one_line_of_limited_length():
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert printable("x" * 400) == "x" * 300 + " ..."
    assert printable("naïve 北京") == "naïve 北京"


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 rows"), (1, "1 row"), (2000, "2,000 rows")]
)
def test_a_count_agrees_with_its_noun(number, expected):
    assert count_of(number, "row") == expected


@pytest.mark.parametrize("noun", ["micro-batch", "process"])
def test_a_noun_that_ends_with_a_hiss_gets_es(noun):
    assert count_of(1, noun) == f"1 {noun}"
    assert count_of(2, noun) == f"2 {noun}es"


def test_only_the_first_places_are_named():
    assert first_few(["a:1", "a:2"]) == "a:1, a:2"
    assert first_few([f"a:{line}" for line in range(1, 9)]).endswith("a:5 and 3 more")


def test_a_suggestion_needs_a_similar_word():
    assert did_you_mean("sumarize", ["summarize", "qa"]) == "; did you mean summarize?"
    assert did_you_mean("xyzzy", ["summarize", "qa"]) == ""


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
        (0, "0 B"), (316, "316 B"), (2210, "2.2 kB"), (0.43e6, "0.4 MB"), (1.25e6, "1.2 MB"),
        (99e6, "99 MB"), (999.9e6, "1.00 GB"), (12.34e9, "12.3 GB"), (234.5e9, "234 GB"),
        (1.2e12, "1.20 TB"),
    ],
)  # fmt: skip
def test_bytes_are_shown_with_three_digits_at_most(num_bytes, shown):
    assert show_bytes(num_bytes) == shown
