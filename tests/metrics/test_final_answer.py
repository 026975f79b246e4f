"""Final answers of worked answers: numbers in canonical form, and majority votes."""

import math
from fractions import Fraction

import hypothesis
import pytest
from hypothesis import strategies as st

from llmkit.metrics import compute
from llmkit.metrics.final_answer import final_answer
from llmkit.metrics.prediction import Prediction
from llmkit.tasks import TASKS


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### 1,234.50\n", "1234.5"),
        ("#### $12.00.", "12"),
        ("#### 5\n#### 6", "6"),
        ("-3", "-3"),
        ("100", "100"),
        ("", ""),
        ("#### .5", "0.5"),
        ("#### -.50", "-0.5"),
        ("#### -0.0", "0"),
        ("#### \u22125", "-5"),
        ("#### -$5", "-5"),
        ("#### $-5", "-5"),
        ("#### US$ 5", "5"),
        ("#### USD 5", "5"),
        ("#### 5 \u20ac", "5"),
        ("#### 50%", "50"),
        ("#### 50 apples.", "50"),
        ("#### **1 234 567 km**", "1234567"),
        ("#### 1\u00a0234", "1234"),
        ("#### 12,34,567", "1234567"),
        ("#### \\boxed{42}", "42"),
        ("#### $42$", "42"),
        ("#### 3/4", "0.75"),
        ("#### 1/3", "1/3"),
        ("#### 2/6 of it", "1/3"),
        ("#### \u00bd", "0.5"),
        ("#### -1\u00bd cups", "-1.5"),
        ("#### 3 1/2", "3.5"),
        ("#### \\boxed{\\frac{3}{4}}", "0.75"),
        ("#### 2\\dfrac{1}{3}", "7/3"),
        ("#### 2 1/2 million", "2500000"),
        ("#### \u0663\u066b\u0665", "3.5"),  # Arabic digits
        ("#### 5 m\u00b2", "5"),
        ("#### 1.5e3", "1500"),
        ("#### 2.5 million people", "2500000"),
        ("#### \uff15\uff10", "50"),
        ("#### 007", "7"),
        # No numbers: compared as texts.
        ("#### 1/0", "1/0"),
        ("#### 1,2", "1,2"),
        ("#### 5 or 6", "5 or 6"),
        ("#### 5x", "5x"),
        ("#### 5\u00b2", "5\u00b2"),
        ("#### 3 1/0", "3 1/0"),
        ("#### 5 + x", "5 + x"),
        ("#### 5 and a half", "5 and a half"),
        ("#### 12:30", "12:30"),
        ("####  No   Solution. ", "no solution"),
        ("#### (A)", "a"),
        ("#### A", "a"),
        ("#### ?", "?"),
        ("#### **", "**"),
        ("#### " + "9" * 5000, "9" * 5000),
    ],
)
def test_the_final_answer_is_read_from_a_worked_answer(text, final):
    assert final_answer(text) == final


@hypothesis.given(
    st.integers(-(10**9), 10**9), st.integers(0, 6), st.sampled_from(["", "$", "\u20ac", "US$"]),
    st.sampled_from(["", "%", ".", " apples", "km", " m."]),
    st.sampled_from(["-", "\u2212", "\u2013"]), st.booleans(), st.integers(0, 3), st.booleans(),
)  # fmt: skip
def test_a_number_is_the_same_however_it_is_written(
    integer, num_decimals, currency, unit, minus, is_grouped, num_zeros, has_leading_zero
):
    value = Fraction(integer, 10**num_decimals)
    whole, rest = divmod(abs(value), 1)
    decimals = str(int(rest * 10**num_decimals)).zfill(num_decimals) if num_decimals else ""
    decimals += "0" * num_zeros
    written = f"{int(whole):,}" if is_grouped else str(whole)
    if decimals and not whole and not has_leading_zero:
        written = ""
    written += f".{decimals}" if decimals else ""
    said = f"{minus if integer < 0 else ''}{currency}{written}{unit}"
    assert final_answer(f"It is so.\n#### {said}") == final_answer(str(float(value)))
    assert Fraction(final_answer(said)) == value
    assert final_answer(said) != final_answer(str(float(value) + 1))


def test_the_majority_vote_is_the_most_common_final_answer():
    answers = ["#### 7", "#### 8", "4 + 4 = 8\n#### 8.0"]
    predictions = [Prediction(answers[0], votes=answers)] * 2
    scores = TASKS["reason"].score(predictions, [["#### 8"], ["#### 7"]])
    assert scores == {"final_answer": 50, "majority_vote": 50}
    alone = compute("final_answer", ["#### 8"], [["8"]])
    assert alone["final_answer"] == 100
    assert math.isnan(alone["majority_vote"])
