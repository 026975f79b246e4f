"""The parts of messages: counts, the first few places, suggestions, escaped text."""

import pytest

from llmkit.errors import count_of, did_you_mean, first_few, printable


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


def test_a_suggestion_may_complete_the_word():
    assert did_you_mean("acc", ["accuracy", "macro_f1", "auc"]) == "; did you mean accuracy?"
    assert did_you_mean("sum", ["summarize", "qa"]) == "; did you mean summarize?"
    assert did_you_mean("rouge", ["rougeL", "rouge1"]) == "; did you mean rougeL?"
    assert did_you_mean("", ["summarize"]) == ""
