"""`llmkit chat` and the server build the same prompts from messages, those of training."""

import pytest
from served import open_tiny

from llmkit.data.encode import encode_segments
from llmkit.errors import UserError
from llmkit.generation.chat_modes import chat_mode_for, encode_messages, message_kind
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


@pytest.mark.parametrize("task", ["summarize", "instruct", "qa"])
@pytest.mark.parametrize("text", [" ", "\u200b"])
def test_a_blank_input_is_rejected(tiny_gpt2, task, text):
    with pytest.raises(ValueError, match="the last message is empty"):
        encode_messages([Message("user", text)], session_of(tiny_gpt2, task))


def test_a_message_of_a_conversation_is_never_truncated(tiny_gpt2):
    with pytest.raises(UserError, match="the message has "):
        encode_messages([Message("user", "word " * 200)], session_of(tiny_gpt2, "chat"))
