"""The prompt of a conversation: tokens as in training, within the context, newest message kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.encode import encode_example, encode_segments
from llmkit.errors import UserError
from llmkit.generation.conversation import Conversation
from llmkit.model.load import load_model
from llmkit.tasks import TASKS, to_example

CHAT = TASKS["chat"]
WORDS = st.sampled_from(["goat", "Mara", "?", "\n", "User:", "<|endoftext|>", "é", "👩🏽‍🌾", "  "])
TEXT = st.lists(WORDS, min_size=1, max_size=12).map(" ".join).filter(lambda text: text.strip())
TURNS = st.lists(st.tuples(TEXT, TEXT), max_size=5)


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    return load_model(str(tiny_gpt2))[1]


def stripped(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(question.strip(), answer.strip()) for question, answer in turns]


@given(TURNS, TEXT, TEXT, st.sampled_from(["", "Be brief."]), st.integers(8, 200))
def test_a_prompt_has_the_same_tokens_as_in_training(
    tokenizer, turns, question, answer, system, max_tokens
):
    conversation = Conversation(CHAT, system, stripped(turns))
    whole = Conversation(CHAT, system, [*stripped(turns), (question, answer)])
    example = to_example({"id": "0", "where": "a:1", "messages": whole.messages}, CHAT)
    ((_, ids),) = encode_segments([example], tokenizer)
    num_answer = len(ids[-1]) + 1  # with its end-of-text
    try:
        fitted = conversation.fit(question, tokenizer, max_tokens)
    except UserError:
        assert conversation.max_question_tokens(tokenizer, max_tokens) < num_tokens(
            conversation, question, tokenizer
        )
        return
    trained = encode_example(example, ids, tokenizer.eos_token_id, max_tokens + num_answer, False)
    assert fitted.ids == [token for tokens in trained.prompt for token in tokens]
    assert (fitted.num_dropped == 0) == (trained.outcome == "whole")


def num_tokens(conversation: Conversation, question: str, tokenizer) -> int:
    """Tokens of a question, or 1 for one that the template strips away."""
    alone = Conversation(conversation.task, conversation.system)
    with_question, without = (len(alone.fit(text, tokenizer, 10**6).ids) for text in (question, ""))
    return with_question - without


@given(TURNS, TEXT, st.sampled_from(["", "Be brief."]), st.integers(8, 200))
def test_the_oldest_turns_are_dropped_and_the_newest_message_is_complete(
    tokenizer, turns, question, system, max_tokens
):
    turns = stripped(turns)
    try:
        fitted = Conversation(CHAT, system, turns).fit(question, tokenizer, max_tokens)
    except UserError:
        return
    assert len(fitted.ids) <= max_tokens
    alone = Conversation(CHAT).fit(question, tokenizer, 10**6).ids
    assert fitted.ids[-len(alone) + 1 :] == alone[1:], "the first token has no new line before it"
    num_dropped = fitted.num_dropped
    later = Conversation(CHAT, system, turns[num_dropped:])
    kept = later.fit(question, tokenizer, 10**6).ids
    assert fitted.ids[-len(kept) + 3 :] == kept[3:]
    if num_dropped:  # one more would not fit
        longer = Conversation(CHAT, system, turns[num_dropped - 1 :])
        assert len(longer.fit(question, tokenizer, 10**6).ids) > max_tokens


def test_a_message_that_does_not_fit_is_rejected_with_the_maximum_length(tokenizer):
    conversation = Conversation(CHAT, "Be brief.", [("Who?", "Mara.")])
    room = conversation.max_question_tokens(tokenizer, 60)
    texts = ["Q" * number for number in range(1, 61)]  # a token each
    fitting = next(text for text in texts if num_tokens(conversation, text, tokenizer) == room)
    assert len(conversation.fit(fitting, tokenizer, 60).ids) == 60
    with pytest.raises(UserError, match=f"the message has {room + 1} tokens, but only {room} fit"):
        conversation.fit(f"{fitting}Q", tokenizer, 60)


def test_messages_have_the_shape_of_a_chat_data_set():
    conversation = Conversation(CHAT, "Be brief.", [("Who?", "Mara.")])
    assert conversation.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Mara."},
    ]
