"""The state of a sequence while its completion grows."""

import numpy as np
import pytest

from llmkit.config.generation import Generation
from llmkit.constants import IGNORE_INDEX
from llmkit.generation.request import Request, Sequence
from llmkit.model.load import EMBEDDED_MODEL, load_model

END = -1


@pytest.fixture(scope="module")
def tokenizer():
    return load_model(str(EMBEDDED_MODEL))[1]


def sequence_of(tokenizer, **settings):
    return Sequence(Request([1, 2, 3], Generation(**settings), (0, 4)), tokenizer)


def test_a_sequence_ends_with_end_of_text_or_at_its_maximum_length(tokenizer):
    sequence = sequence_of(tokenizer, max_new_tokens=3)
    sequence.push(8, END)
    assert sequence.finish_reason is None
    sequence.push(END, END)
    assert (sequence.token_ids, sequence.finish_reason) == ([8], "stop")
    longest = sequence_of(tokenizer, max_new_tokens=2)
    for token in (8, 9):
        longest.push(token, END)
    assert (longest.token_ids, longest.finish_reason) == ([8, 9], "length")


def test_unread_tokens_follow_the_cached_tokens(tokenizer):
    sequence = sequence_of(tokenizer, max_new_tokens=9)
    assert sequence.unread == [1, 2, 3]
    sequence.num_cached = 2
    assert sequence.unread == [3]
    sequence.push(8, END)
    sequence.push(9, END)
    assert sequence.unread == [3, 8, 9]
    sequence.num_cached = 4
    assert sequence.unread == [9]


def test_the_expected_completion_is_read_with_the_prompt(tokenizer):
    labels = [1, IGNORE_INDEX, 5, IGNORE_INDEX, 7, 8, 9]  # the first token is never predicted
    request = Request([1, 2, 5, 6], Generation(max_new_tokens=2), row_labels=labels)
    assert (request.expected, request.max_completion) == ([7, 8, 9], 3)
    sequence = Sequence(request, tokenizer)
    assert sequence.unread == [1, 2, 5, 6, 7, 8]
    assert (sequence.targets, sequence.used) == ({2: 5, 4: 7, 5: 8, 6: 9}, [1, 3, 4, 5])
    sequence.nats, sequence.num_cached = np.zeros(4, np.float32), 4
    sequence.push(8, END)
    assert (sequence.unread, sequence.used) == ([8], [4])


def test_random_numbers_depend_only_on_the_key(tokenizer):
    sequence = sequence_of(tokenizer, max_new_tokens=5, temperature=1.0)
    draws = np.random.default_rng((0, 4)).random(5)
    for draw in draws:
        assert sequence.draw == draw
        sequence.push(8, END)


def test_the_text_is_decoded_from_the_tokens(tokenizer):
    sequence = sequence_of(tokenizer, max_new_tokens=50)
    ids = tokenizer("The ferry was late again.")["input_ids"]
    for token in ids:
        sequence.push(token, END)
    assert sequence.text == "The ferry was late again."


def test_a_stop_string_ends_the_sequence_and_is_removed_from_its_text(tokenizer):
    sequence = sequence_of(tokenizer, max_new_tokens=50, stop=["late", "\n"])
    for token in tokenizer("The ferry was late again.")["input_ids"]:
        if sequence.finish_reason is None:
            sequence.push(token, END)
    assert (sequence.text, sequence.finish_reason) == ("The ferry was ", "stop")
    end = sequence_of(tokenizer, max_new_tokens=50, stop=["late again"])
    for token in [*tokenizer("It is late")["input_ids"], END]:
        end.push(token, END)
    assert (end.text, end.finish_reason) == ("It is late", "stop")


def test_a_cancelled_sequence_keeps_its_text(tokenizer):
    sequence = sequence_of(tokenizer, max_new_tokens=50, stop=["late again"])
    for token in tokenizer("It is late")["input_ids"]:
        sequence.push(token, END)
    sequence.finish("cancelled")
    assert (sequence.text, sequence.finish_reason) == ("It is late", "cancelled")


def test_a_sequence_that_exceeds_llguidances_limits_is_truncated(tokenizer):
    sequence = sequence_of(tokenizer, max_new_tokens=50, regex="[a-z]{1,9}")
    sequence.push(*tokenizer.convert_tokens_to_ids(["b"]), END)
    assert not sequence.constraint.has_failed
    sequence.constraint.accept(tokenizer.convert_tokens_to_ids("0"))  # as after a failure
    assert sequence.constraint.has_failed
    sequence.push(END, END)
    assert (sequence.text, sequence.finish_reason) == ("b", "length")
