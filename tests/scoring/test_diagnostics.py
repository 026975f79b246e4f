"""Properties of generated texts that are reported next to their scores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.metrics.prediction import Prediction
from llmkit.scoring.diagnostics import diagnose, ngrams, repeated_share

SAID = ["one two three four one two three four", "", "the ferry left the port at noon on Friday"]
EXPECTED = [["one two three four"], ["something"], ["a ferry"]]
PROMPTS = ["count: one two three four", "say something", "when did the ferry leave"]
LEARNT = ["It is known that the ferry left the port at noon on Friday, and so on."]


def test_diagnostics_equal_hand_computed_examples():
    predictions = [
        Prediction(text, ended=ended) for text, ended in zip(SAID, [True, True, False], strict=True)
    ]
    figures = diagnose(predictions, EXPECTED, PROMPTS, LEARNT)
    assert figures == pytest.approx(
        {
            "stopped by itself": 200 / 3,
            "empty": 100 / 3,
            "length, of the references'": 100 * 17 / 7,
            "repeated": 100 * 1 / 11,  # 5 runs of four words in the first text, 6 in the last
            "copied from the prompt": 100 * 2 / 11,
            "found in training texts": 100 * 2 / 3,  # 1 run of eight words in the first text
        }
    )
    unknown = list(map(Prediction, SAID))
    assert "stopped by itself" not in diagnose(unknown, EXPECTED, PROMPTS, LEARNT)


def test_an_empty_prediction_repeats_and_copies_nothing():
    figures = diagnose([Prediction("", ended=True)], [["x"]], ["p"], ["t"])
    assert set(figures.values()) == {0, 100}


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_a_doubled_text_repeats_all_of_its_ngrams(words):
    text = " ".join(words)
    assert len(ngrams(text, 4)) == max(0, len(words) - 3)
    if len(words) > 3:
        once, twice = len(words) - 3, 2 * len(words) - 3
        assert repeated_share([f"{text} {text}"]) >= once / twice
