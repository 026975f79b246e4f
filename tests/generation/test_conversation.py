"""The prompt of a conversation: training's tokens, within the context, with the newest message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.encode import encode_example, encode_segments
from llmkit.errors import UserError
from llmkit.generation.conversation import Conversation, holds_conversation, takes_system_prompt
from llmkit.model.load import load_model
from llmkit.tasks import TASKS, to_example
from llmkit.tasks.templates import with_template

CHAT, INSTRUCT = TASKS["chat"], TASKS["instruct"]
WORDS = st.sampled_from(["goat", "Mara", "?", "\n", "User:", "<|endoftext|>", "é", "👩🏽‍🌾", "  "])
TEXT = st.lists(WORDS, min_size=1, max_size=12).map(" ".join).filter(lambda text: text.strip())
TURNS = st.lists(st.tuples(TEXT, TEXT), max_size=5)


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    return load_model(str(tiny_gpt2))[1]


def stripped(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(question.strip(), answer.strip()) for question, answer in turns]


@given(TURNS, TEXT, TEXT, st.sampled_from(["", "Be brief."]), st.integers(8, 200))
def test_the_prompt_has_the_tokens_that_training_makes_of_the_same_messages(
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
        assert conversation.room_for_question(tokenizer, max_tokens) < num_tokens(
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


@given(
    st.sampled_from([CHAT, INSTRUCT]), TURNS, TEXT, st.sampled_from(["", "Be brief."]),
    st.integers(8, 200),
)  # fmt: skip
def test_the_newest_message_is_whole_and_the_oldest_turns_are_dropped_first(
    tokenizer, task, turns, question, system, max_tokens
):
    turns = stripped(turns)
    try:
        fitted = Conversation(task, system, turns).fit(question, tokenizer, max_tokens)
    except UserError:
        return
    assert len(fitted.ids) <= max_tokens
    alone = Conversation(task).fit(question, tokenizer, 10**6).ids
    assert fitted.ids[-len(alone) + 1 :] == alone[1:], "the first token has no new line before it"
    num_dropped = fitted.num_dropped
    later = Conversation(task, system, turns[num_dropped:])
    kept = later.fit(question, tokenizer, 10**6).ids
    assert fitted.ids[-len(kept) + 3 :] == kept[3:]
    if num_dropped:  # one more would not fit
        longer = Conversation(task, system, turns[num_dropped - 1 :])
        assert len(longer.fit(question, tokenizer, 10**6).ids) > max_tokens


@given(TEXT, st.sampled_from(["", "Be brief."]))
def test_the_first_instruction_has_the_prompt_of_training(tokenizer, question, system):
    row = {"id": "0", "instruction": question, "input": "", "system": system, "output": "x"}
    example = to_example(row, INSTRUCT)
    ((_, ids),) = encode_segments([example], tokenizer)
    fitted = Conversation(INSTRUCT, system).fit(question, tokenizer, 10**6)
    assert fitted.ids == [token for tokens in ids[:-1] for token in tokens]


def test_earlier_turns_of_an_instruction_model_are_in_its_template(tokenizer):
    conversation = Conversation(INSTRUCT, "Be brief.", [("Who?", "Mara.")])
    ids = conversation.fit("And?", tokenizer, 10**6).ids
    assert tokenizer.decode(ids) == (
        "Be brief.\nInstruction: Who?\nResponse: Mara.<|endoftext|>"
        "Be brief.\nInstruction: And?\nResponse:"
    )


@pytest.mark.parametrize("task", [CHAT, INSTRUCT])
def test_a_message_that_does_not_fit_is_refused_with_the_room_there_is(tokenizer, task):
    conversation = Conversation(task, "Be brief.", [("Who?", "Mara.")])
    room = conversation.room_for_question(tokenizer, 60)
    texts = ["Q" * number for number in range(1, 61)]  # a token each
    fitting = next(text for text in texts if num_tokens(conversation, text, tokenizer) == room)
    assert len(conversation.fit(fitting, tokenizer, 60).ids) == 60
    with pytest.raises(UserError, match=f"the message has {room + 1} tokens, and {room} fit"):
        conversation.fit(f"{fitting}Q", tokenizer, 60)


def test_which_tasks_hold_a_conversation_and_take_a_system_prompt():
    assert {name for name, task in TASKS.items() if holds_conversation(task)} == {
        "chat", "instruct",
    }  # fmt: skip
    assert {name for name, task in TASKS.items() if takes_system_prompt(task)} == {
        "chat", "instruct",
    }  # fmt: skip
    assert not takes_system_prompt(with_template(INSTRUCT, "{instruction}\nAnswer:"))


def test_messages_are_those_of_a_chat_data_set():
    conversation = Conversation(CHAT, "Be brief.", [("Who?", "Mara.")])
    assert conversation.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Mara."},
    ]
