"""`llmkit chat` and the server build the same prompts from messages, those of training."""

import pytest
from rows import LABELS, TEXT
from served import as_run_of, open_tiny

from llmkit.data.encode import encode_segments, encode_text
from llmkit.errors import UserError
from llmkit.generation.chat_modes import (
    ChatMode,
    ConversationMode,
    InputMode,
    TextMode,
    chat_mode_for,
    encode_messages,
    message_kind,
)
from llmkit.generation.conversation import Conversation
from llmkit.serving.page import kind_of
from llmkit.tasks import TASKS, to_example
from llmkit.tasks.conversation import Message
from llmkit.tasks.templates import with_template

EARLIER, SYSTEM, LAST = ("Who left?", "Mara."), "Be brief.", "When?"
ROWS = {
    "chat": {
        "messages": [
            {"role": "user", "content": EARLIER[0]},
            {"role": "assistant", "content": EARLIER[1]},
            {"role": "user", "content": LAST},
            {"role": "assistant", "content": "At noon."},
        ]
    },
    "instruct": {"instruction": LAST, "input": "", "system": "", "output": "At noon."},
    "summarize": {"document": LAST, "summary": "Noon."},
    "reason": {"question": LAST, "answer": "#### 12"},
    "classify": {"text": LAST, "text_pair": "", "label": "time"},
}
KINDS = {
    "chat": "chat", "classify": "label", "pretrain": "text", "instruct": "prompt", "qa": "prompt",
    "summarize": "prompt", "translate": "prompt", "reason": "prompt",
}  # fmt: skip


def session_of(model, task: str):
    return open_tiny(model, task, ("time", "place") if task == "classify" else ())


def messages(*, system: str = "") -> list[Message]:
    turns = [Message("user", EARLIER[0]), Message("assistant", EARLIER[1]), Message("user", LAST)]
    return [Message("system", system), *turns] if system else turns


def trained_ids(task: str, row: dict, session) -> list[int]:
    """Token ids of the prompt that training makes of a row."""
    example = to_example({"id": "0", **row}, session.task)
    ((_, ids),) = encode_segments([example], session.tokenizer)
    return [token for tokens in ids[:-1] for token in tokens]


@pytest.mark.parametrize("task", ROWS)
def test_chat_and_server_build_the_prompt_of_training(tiny_gpt2, task):
    session = session_of(tiny_gpt2, task)
    expected = trained_ids(task, ROWS[task], session)
    assert encode_messages(messages(), session).ids == expected
    mode = chat_mode_for(session)
    mode.record(*EARLIER)
    assert mode.encode(LAST).ids == expected


@pytest.mark.parametrize("task", ["chat", "instruct"])
def test_chat_and_server_build_the_system_prompt_of_training(tiny_gpt2, task):
    session, row = session_of(tiny_gpt2, task), dict(ROWS[task])
    if task == "chat":
        row["messages"] = [{"role": "system", "content": SYSTEM}, *row["messages"]]
    else:
        row["system"] = SYSTEM
    expected = trained_ids(task, row, session)
    assert encode_messages(messages(system=SYSTEM), session).ids == expected
    mode = chat_mode_for(session, SYSTEM)
    mode.record(*EARLIER)
    assert mode.encode(LAST).ids == expected


def test_a_task_with_several_inputs_takes_the_whole_prompt(tiny_gpt2):
    session = session_of(tiny_gpt2, "qa")
    prompt = "Context: Mara left.\nQuestion: Who left?\nAnswer:"
    row = {"context": "Mara left.", "question": "Who left?", "answers": ["Mara"]}
    encoded = encode_messages([*messages()[:2], Message("user", prompt)], session)
    assert encoded.ids == chat_mode_for(session).encode(prompt).ids
    assert encoded.ids == trained_ids("qa", row, session)


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"chat", "instruct"}))
def test_other_tasks_take_no_system_prompt(tiny_gpt2, task):
    session = session_of(tiny_gpt2, task)
    with pytest.raises(ValueError, match="takes no system prompt"):
        chat_mode_for(session, SYSTEM)
    with pytest.raises(ValueError, match="takes no system prompt"):
        encode_messages(messages(system=SYSTEM), session)


def test_a_template_without_system_takes_no_system_prompt(tiny_gpt2):
    session = session_of(tiny_gpt2, "instruct")
    object.__setattr__(session, "task", with_template(session.task, "{instruction}\nAnswer:"))
    with pytest.raises(ValueError, match="instruct takes no system prompt"):
        chat_mode_for(session, SYSTEM)


@pytest.mark.parametrize("task", TASKS)
def test_the_page_uses_messages_like_the_chat(tiny_gpt2, task):
    session = session_of(tiny_gpt2, task)
    assert kind_of(session) == KINDS[task]
    assert (message_kind(session.task) == "turn") == (kind_of(session) == "chat")


@pytest.mark.parametrize("task", ["chat", "summarize", "instruct", "qa", "classify"])
@pytest.mark.parametrize("text", ["", " ", "\u200b"])
def test_a_blank_last_message_is_rejected(tiny_gpt2, task, text):
    with pytest.raises(ValueError, match="the last message is blank; send at least one visible"):
        encode_messages([Message("user", text)], session_of(tiny_gpt2, task))


def test_a_message_of_a_conversation_is_never_truncated(tiny_gpt2):
    with pytest.raises(UserError, match="the message has "):
        encode_messages([Message("user", "word " * 200)], session_of(tiny_gpt2, "chat"))


@pytest.fixture(scope="module")
def open_mode(tiny_gpt2):
    """The mode of a model after a run of a task."""

    session = open_tiny(tiny_gpt2)

    def open_it(task: str, system: str = "", **keys) -> ChatMode:
        labels = LABELS if TASKS[task].output == "label" else ()
        return chat_mode_for(as_run_of(session, task, labels, **keys), system)

    return open_it


def text_of(mode: ChatMode, message: str) -> str:
    """The prompt that a message becomes, decoded."""
    return mode.session.tokenizer.decode(mode.encode(message).ids)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_mode_with_a_prompt_and_rows_to_save(open_mode, task):
    mode = open_mode(task)
    assert mode.rows() == []
    encoded = mode.encode(TEXT[0][:30])
    assert encoded.ids
    mode.notes()
    mode.record(TEXT[0][:30], " An answer.\n")
    assert mode.has_history == (not isinstance(mode, InputMode))
    (row,) = mode.rows()
    assert "An answer." in str(row)
    first = encoded.ids
    mode.reset()
    assert mode.rows() == []
    assert mode.encode(TEXT[0][:30]).ids == first, "nothing is remembered"


def test_the_mode_fits_the_task(open_mode):
    modes = {task: type(open_mode(task)) for task in TASKS}
    texts = {task for task in TASKS if TASKS[task].output == "text"}
    assert {task for task, mode in modes.items() if mode is TextMode} == texts
    assert {task for task, mode in modes.items() if mode is ConversationMode} == {"chat"}
    assert {task for task, mode in modes.items() if mode is InputMode} == (
        TASKS.keys() - texts - {"chat"}
    )


# -------------------------------------------------------------------------- conversations


def test_answers_are_turns_of_the_next_prompt(open_mode):
    mode = open_mode("chat", "  Be brief. ")
    mode.record(" Who? ", " Mara.\n")
    expected = Conversation(TASKS["chat"], "Be brief.", [("Who?", "Mara.")])
    assert mode.encode("And?").ids == expected.fit("And?", mode.session.tokenizer, 10**6).ids
    assert mode.rows() == [{"messages": expected.messages}]


def test_the_context_keeps_room_for_the_answer_and_drops_the_oldest_turns_once(open_mode):
    mode, notes = open_mode("chat", max_new_tokens=40), []
    for number in range(6):
        encoded = mode.encode(TEXT[0][:25])
        assert len(encoded.ids) <= 128 - 40
        assert encoded.is_truncated == (mode.dropped_now > 0)
        notes.append(mode.notes())
        mode.record(TEXT[0][:25], f"Number {number}.")
    noted = [note for of_one in notes for note in of_one]
    assert noted[0] == "dropped the oldest turn to fit data.max_length of 128 tokens"
    assert noted[1] == "dropped the oldest 2 turns to fit data.max_length of 128 tokens"
    assert len(noted) == len(set(noted)) < 6
    assert mode.encode(TEXT[0][:25])
    mode.reset()
    assert mode.encode(TEXT[0][:25])
    assert mode.notes() == []


def test_turns_that_come_back_are_not_noted(open_mode):
    """A shorter message leaves room for turns that an earlier one displaced."""
    mode = open_mode("chat", max_new_tokens=20)
    for number in range(3):
        mode.record(TEXT[0][:25], f"Number {number}.")
    mode.encode(TEXT[1][:60])
    assert len(mode.notes()) == 1
    mode.encode("?")
    assert mode.notes() == []
    assert mode.num_dropped < 3
    mode.encode(TEXT[1][:60])
    assert len(mode.notes()) == 1, "they left once more"


def test_a_conversation_without_room_for_a_message_is_refused_at_once(open_mode):
    with pytest.raises(UserError, match=r"no room for a message: data\.max_length is 128 tokens"):
        open_mode("chat", max_new_tokens=127)
    with pytest.raises(UserError, match="shorten the system prompt or lower --max-new-tokens"):
        open_mode("chat", "goat " * 100)
    mode = open_mode("chat")
    with pytest.raises(UserError, match=r"^the message has .* fit; shorten it"):
        mode.encode("goat " * 200)
    assert mode.rows() == []


# ---------------------------------------------------------------------------------- texts


def test_an_empty_message_continues_the_last_text(open_mode):
    mode = open_mode("pretrain")
    mode.record("One.", " And")
    mode.record("Two.", " then")
    assert text_of(mode, "Three.") == "Three."
    assert text_of(mode, "") == "Two. then"
    mode.record("", " some")
    assert text_of(mode, "") == "Two. then some"
    assert mode.rows() == [{"text": "One. And"}, {"text": "Two. then some"}]


def test_a_long_text_is_continued_from_its_end_but_a_long_message_is_refused(open_mode):
    mode = open_mode("pretrain", max_new_tokens=100)
    mode.record("One.", TEXT[0] * 3)
    (ids,) = encode_text([f"One.{TEXT[0] * 3}"], mode.session.tokenizer)
    assert mode.encode("").ids == ids[-28:]
    with pytest.raises(UserError, match=r"^the text has .* tokens, but only 28 fit; shorten it"):
        mode.encode(TEXT[0] * 3)
    with pytest.raises(UserError, match="--max-new-tokens: 128 leaves no room"):
        open_mode("pretrain", max_new_tokens=128)


# --------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize("task", ["summarize", "classify", "translate", "instruct"])
def test_a_message_is_an_input_of_the_task_whatever_was_asked_before(open_mode, task):
    mode = open_mode(task)
    alone = mode.encode("A ferry.").ids
    row = dict.fromkeys(TASKS[task].inputs, "")
    row |= {TASKS[task].truncatable_input: "A ferry.", TASKS[task].target: LABELS[0]}
    example = to_example({"id": "0", **row}, TASKS[task])
    assert mode.session.tokenizer.decode(alone) == example.prompt_text
    mode.record("Before.", "Yes.")
    assert mode.encode("A ferry.").ids == alone
    assert mode.rows() == [{"prompt": "Before.", "completion": "Yes."}]


def test_the_system_prompt_is_saved_with_each_instruction(open_mode):
    mode = open_mode("instruct", " Be brief.\n")
    mode.record("Before.", " Yes.")
    assert mode.rows() == [{"system": "Be brief.", "prompt": "Before.", "completion": "Yes."}]


def test_a_task_of_several_inputs_takes_whole_prompts(open_mode):
    mode = open_mode("qa")
    assert "each message is a complete prompt with all inputs of the template" in mode.introduction
    prompt = "Context: A.\nQuestion: B?\nAnswer:"
    assert text_of(mode, prompt) == prompt


def test_a_truncated_input_is_noted(open_mode):
    mode = open_mode("summarize", max_new_tokens=20)
    assert len(mode.encode("goat " * 200).ids) == 108
    assert mode.notes() == ["truncated to fit 128 tokens, as in training"]
    mode.encode("goat")
    assert mode.notes() == []


@pytest.mark.parametrize(
    ("task", "introduction"),
    [
        ("chat", ""),
        ("instruct", 'instruct: each message is one input for the template "{#system}'),
        ("summarize", 'summarize: each message is one input for the template "{document}'),
        ("classify", 'classify: each message is one input for the template "{text}'),
        (
            "pretrain",
            "plain language model: it continues your text rather than answering questions",
        ),
    ],
)
def test_a_person_is_told_what_a_message_is(open_mode, task, introduction):
    shown = open_mode(task).introduction
    assert shown.startswith(introduction)
    assert bool(shown) == bool(introduction)
    assert "\n" not in shown
