"""Incremental decoding: no character is split, and the text ends before a stop string."""

import itertools
from functools import cache

import hypothesis
import pytest
from hypothesis import strategies as st
from tokenizer_kinds import load_kinds
from whole_texts import cut, whole_text

from llmkit.generation.text_stream import TextStream

KINDS = load_kinds()


def stream(tokenizer, token_ids, stop):
    """The finished stream and the text after each token."""
    texts = []
    text_stream = TextStream(tokenizer, stop)
    for token_id in token_ids:
        text_stream.push(token_id)
        texts.append(text_stream.text)
    text_stream.finish()
    texts.append(text_stream.text)
    return text_stream, texts


def assert_streams_whole(tokenizer, token_ids, stop):
    expected, is_stopped = cut(whole_text(tokenizer, token_ids), stop)
    text_stream, texts = stream(tokenizer, token_ids, stop)
    assert text_stream.text == expected
    assert text_stream.is_stopped == is_stopped
    for before, after in itertools.pairwise(texts):
        assert after.startswith(before)
    return texts


@cache
def token_strategy(kind):
    """Any token, often of a single character (a single byte for byte-level tokenizers)."""
    vocabulary = KINDS[kind]().get_vocab()
    short = sorted(number for word, number in vocabulary.items() if len(word) == 1)
    return st.one_of(st.sampled_from(sorted(vocabulary.values())), st.sampled_from(short))


@pytest.mark.parametrize("kind", KINDS)
@hypothesis.settings(max_examples=50)
@hypothesis.given(data=st.data())
def test_incremental_decoding_of_random_tokens_equals_decoding_at_once(kind, data):
    tokenizer = KINDS[kind]()
    token_ids = data.draw(st.lists(token_strategy(kind), max_size=30))
    text = whole_text(tokenizer, token_ids)
    spans = data.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), max_size=3))
    pieces = [text[start : start + length] for start, length in spans]
    assert_streams_whole(tokenizer, token_ids, [piece for piece in pieces if piece])


@pytest.mark.parametrize("kind", ["byte-level", "embedded"])
@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", [" th"], "one two"),
        ("one two three", ["two", "one two"], ""),  # both end together
        ("abcd", ["abcd", "bc"], "a"),  # complete first
        ("ababac", ["abac"], "ab"),
        ("aaab", ["aab"], "a"),
        ("a\n\nb", ["\n\n"], "a"),
        ("größer 你好吗 👍🏽!", ["好"], "größer 你"),
        ("größer 你好吗 👍🏽!", ["👍🏽!"], "größer 你好吗 "),
        ("größer", ["ß"], "grö"),
        ("the end", ["ending", "d!"], "the end"),
        ("", ["x"], ""),
    ],
)
def test_a_text_ends_before_the_first_stop_string(kind, text, stop, expected):
    tokenizer = KINDS[kind]()
    for token_ids in (tokenizer.encode(text), bytewise(tokenizer, text)):
        texts = assert_streams_whole(tokenizer, token_ids, stop)
        assert texts[-1] == expected
        assert all(expected.startswith(each) for each in texts)  # nothing of a stop string shows


def bytewise(tokenizer, text):
    """The text with one token per byte."""
    return [token for byte in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
            for token in tokenizer.convert_tokens_to_ids(list(byte[0]))]  # fmt: skip


def test_a_character_appears_when_it_is_complete():
    tokenizer = KINDS["embedded"]()
    token_ids = bytewise(tokenizer, "é👍.")
    _, texts = stream(tokenizer, token_ids, [])
    assert texts == ["", "é", "é", "é", "é", "é👍", "é👍.", "é👍."]


def test_a_possible_beginning_of_a_stop_string_is_held_back():
    tokenizer = KINDS["embedded"]()
    _, texts = stream(tokenizer, bytewise(tokenizer, "a<|b"), ["<|end|>"])
    assert texts == ["a", "a", "a", "a<|b", "a<|b"]
    _, texts = stream(tokenizer, bytewise(tokenizer, "a<|"), ["<|end|>"])
    assert texts == ["a", "a", "a", "a<|"]


def test_tokens_after_a_stop_string_are_ignored():
    tokenizer = KINDS["embedded"]()
    text_stream = TextStream(tokenizer, ["b"])
    for token_id in bytewise(tokenizer, "abab"):
        text_stream.push(token_id)
    text_stream.finish()
    assert (text_stream.text, text_stream.is_stopped) == ("a", True)


def test_an_incomplete_character_is_released_at_the_end():
    tokenizer = KINDS["embedded"]()
    token_ids = bytewise(tokenizer, "né")[:-1]
    _, texts = stream(tokenizer, token_ids, [])
    assert texts == ["n", "n", "n\N{REPLACEMENT CHARACTER}"]
    _, texts = stream(tokenizer, token_ids, ["\N{REPLACEMENT CHARACTER}"])
    assert texts[-1] == "n"
