"""Sentences are split at final punctuation."""

import pytest

from llmkit.metrics.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mara left. Otto stayed!  Who? ", ["Mara left.", "Otto stayed!", "Who?"]),
        ("One\nsentence of 3.5 words", ["One\nsentence of 3.5 words"]),
        ("First.\n\nSecond.", ["First.", "Second."]),
        ("  ", [""]),
    ],
)
def test_sentences_end_in_punctuation_before_white_space(text, sentences):
    assert split_sentences(text) == sentences
