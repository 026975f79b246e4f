"""Instruction data as other tools write it: the prompt, the response and the supervised tokens of
each file, or the advice that it is refused with."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_files import (
    ALPACA,
    ALPACA_PROMPT,
    ASKED,
    ASKED_MORE,
    CALL,
    NO_INPUT_PROMPT,
    PICTURE,
    RESULT,
    SAID,
    SAID_MORE,
    SHAREGPT,
    SINGLE,
    SYSTEM,
    TALK,
    TOOLS,
    WHOLE_TALK,
    answer,
    datasets_csv,
    datasets_jsonl,
    datasets_parquet,
    excel_csv,
    json_list,
    jsonl,
    pandas_csv,
    pandas_jsonl,
    weighted_messages,
)

from llmkit.config.schema import Data
from llmkit.constants import IGNORE_INDEX
from llmkit.data.encode import EncodingOptions, encode_rows, encode_text
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.tasks import get_task, to_example

# Name -> writer, task, first row, its pieces (text, whether supervised), the shape's name.
READ = {
    "Alpaca, LLaMA-Factory json": (
        json_list, "instruct", ALPACA, answer(ALPACA_PROMPT, "Mara keeps it."), "Alpaca",
    ),
    "Alpaca, empty input": (
        json_list, "instruct", {**ALPACA, "input": ""},
        answer(NO_INPUT_PROMPT, "Mara keeps it."), "Alpaca",
    ),
    "Alpaca, no input": (
        jsonl, "instruct", {"instruction": "Name the goat's keeper.", "output": "Mara keeps it."},
        answer(NO_INPUT_PROMPT, "Mara keeps it."), "Alpaca",
    ),
    "Alpaca, LLaMA-Factory system and empty history": (
        json_list, "instruct", {**ALPACA, "system": "Be brief.", "history": []},
        answer(f"Be brief.\n{ALPACA_PROMPT}", "Mara keeps it."), "Alpaca",
    ),
    "Alpaca, tatsu-lab parquet with a rendered text": (
        datasets_parquet, "instruct", {**ALPACA, "text": "### Instruction: ..."},
        answer(ALPACA_PROMPT, "Mara keeps it."), "Alpaca",
    ),
    "Alpaca, Excel CSV": (
        excel_csv, "instruct", ALPACA, answer(ALPACA_PROMPT, "Mara keeps it."), "Alpaca",
    ),
    "Alpaca, pandas CSV with a missing input": (
        pandas_csv, "instruct", {**ALPACA, "input": None},
        answer(NO_INPUT_PROMPT, "Mara keeps it."), "Alpaca",
    ),
    "Alpaca, pandas jsonl with a null input": (
        pandas_jsonl, "instruct", {**ALPACA, "input": None},
        answer(NO_INPUT_PROMPT, "Mara keeps it."), "Alpaca",
    ),
    "axolotl alpaca_chat": (
        jsonl, "instruct",
        {"instruction": ALPACA["instruction"], "input": ALPACA["input"], "response": "Mara."},
        answer(ALPACA_PROMPT, "Mara."), "Dolly",
    ),
    "Dolly, datasets jsonl": (
        datasets_jsonl, "instruct",
        {"instruction": ALPACA["instruction"], "context": ALPACA["input"], "response": "Mara.",
         "category": "closed_qa"},
        answer(ALPACA_PROMPT, "Mara."), "Dolly",
    ),
    "Dolly, datasets CSV with an empty context": (
        datasets_csv, "instruct",
        {"instruction": ALPACA["instruction"], "context": "", "response": "Mara.",
         "category": "open_qa"},
        answer(NO_INPUT_PROMPT, "Mara."), "Dolly",
    ),
    "OpenOrca": (
        datasets_parquet, "instruct",
        {"id": "niv.1", "system_prompt": "Be brief.", "question": "Who keeps a goat?",
         "response": "Mara."},
        answer("Be brief.\nInstruction: Who keeps a goat?\nResponse:", "Mara."),
        "question/response",
    ),
    "MetaMath": (
        json_list, "instruct",
        {"type": "GSM_Rephrased", "query": "How many goats?", "original_question": "Goats?",
         "response": "3."},
        answer("Instruction: How many goats?\nResponse:", "3."), "query/response",
    ),
    "OpenAI legacy prompt and completion": (
        jsonl, "instruct", {"prompt": "Who keeps a goat? ->", "completion": " Mara.\n"},
        answer("Instruction: Who keeps a goat? ->\nResponse:", "Mara."), "prompt/completion",
    ),
    "TRL prompt and completion": (
        datasets_parquet, "chat", {"prompt": "Who keeps a goat?", "completion": "Mara."},
        SINGLE, "prompt/completion",
    ),
    "TRL conversational prompt and completion": (
        datasets_jsonl, "instruct", {"prompt": [ASKED], "completion": [SAID]},
        answer("Instruction: Who keeps a goat?\nResponse:", "Mara."),
        "conversational prompt/completion",
    ),
    "TRL conversational prompt with an earlier answer": (
        datasets_jsonl, "chat", {"prompt": TALK[:4], "completion": TALK[4:]},
        [(f"{WHOLE_TALK[0][0]} Mara.<eos>{WHOLE_TALK[2][0]}", False), WHOLE_TALK[3]],
        "conversational prompt/completion",
    ),
    "TRL messages, parquet": (
        datasets_parquet, "chat", {"messages": TALK}, WHOLE_TALK, "OpenAI messages",
    ),
    "OpenAI messages": (jsonl, "chat", {"messages": TALK}, WHOLE_TALK, "OpenAI messages"),
    "OpenAI messages, empty system": (
        jsonl, "chat", {"messages": [{"role": "system", "content": ""}, ASKED, SAID]},
        SINGLE, "OpenAI messages",
    ),
    "OpenAI messages by a developer": (
        jsonl, "chat", {"messages": [{**SYSTEM, "role": "developer"}, *TALK[1:]]},
        WHOLE_TALK, "OpenAI messages",
    ),
    "OpenAI messages, first answer of weight 0": (
        jsonl, "chat",
        {"messages": [SYSTEM, ASKED, {**SAID, "weight": 0}, ASKED_MORE,
                      {**SAID_MORE, "weight": 1}]},
        [(f"{WHOLE_TALK[0][0]} Mara.<eos>{WHOLE_TALK[2][0]}", False), WHOLE_TALK[3]],
        "OpenAI messages",
    ),
    "OpenAI messages, last answer of weight 0": (
        jsonl, "chat", {"messages": [SYSTEM, ASKED, SAID, ASKED_MORE, {**SAID_MORE, "weight": 0}]},
        WHOLE_TALK[:2], "OpenAI messages",
    ),
    "OpenAI messages with text parts": (
        jsonl, "chat",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Who keeps"},
                                                   {"type": "text", "text": "a goat?"}]}, SAID]},
        [("User: Who keeps\na goat?\nAssistant:", False), (" Mara.<eos>", True)],
        "OpenAI messages",
    ),
    "OpenAI messages of one turn as an instruction": (
        jsonl, "instruct", {"messages": [SYSTEM, ASKED, SAID]},
        answer("Be brief.\nInstruction: Who keeps a goat?\nResponse:", "Mara."), "OpenAI messages",
    ),
    "UltraChat": (
        datasets_parquet, "chat",
        {"prompt": "Who keeps a goat?", "prompt_id": "a1", "messages": TALK},
        WHOLE_TALK, "OpenAI messages",
    ),
    "ShareGPT, axolotl jsonl": (
        jsonl, "chat", {"conversations": SHAREGPT}, WHOLE_TALK, "ShareGPT",
    ),
    "ShareGPT, LLaMA-Factory with system and tools": (
        json_list, "chat", {"conversations": SHAREGPT[1:], "system": "Be brief.", "tools": ""},
        WHOLE_TALK, "ShareGPT",
    ),
    "ShareGPT by user and assistant": (
        jsonl, "chat",
        {"conversations": [{"from": "user", "value": "Who keeps a goat?"},
                           {"from": "assistant", "value": "Mara."}]},
        SINGLE, "ShareGPT",
    ),
    "ShareGPT of one turn as an instruction": (
        json_list, "instruct", {"conversations": SHAREGPT[:3]},
        answer("Be brief.\nInstruction: Who keeps a goat?\nResponse:", "Mara."), "ShareGPT",
    ),
    "Alpaca with history as a conversation": (
        json_list, "chat",
        {"instruction": "And bees?", "input": "", "output": "Otto.", "system": "Be brief.",
         "history": [["Who keeps a goat?", "Mara."]]},
        WHOLE_TALK, "Alpaca",
    ),
    "Alpaca as one turn": (
        json_list, "chat", ALPACA,
        [("User: Name the goat's keeper.\nMara keeps a goat.\nAssistant:", False),
         (" Mara keeps it.<eos>", True)], "Alpaca",
    ),
}  # fmt: skip


# Name -> task, first row, what the message says.
REFUSED = {
    "OpenAI tool calls": (
        "chat", {"messages": [ASKED, CALL, RESULT, SAID], "tools": TOOLS},
        "column messages: message 2 calls a tool or returns its result",
    ),
    "OpenAI function call": (
        "chat",
        {"messages": [ASKED, {"role": "assistant", "function_call": {"name": "f"}}]},
        "message 2 calls a tool",
    ),
    "LLaMA-Factory function call": (
        "chat", {"conversations": [SHAREGPT[1], {"from": "function_call", "value": "{}"}]},
        "message 2 calls a tool",
    ),
    "OpenAI pictures": (
        "chat", {"messages": [{"role": "user", "content": PICTURE}, SAID]},
        "message 1 has a content part of type 'image_url'",
    ),
    "OpenAI messages that end with a question": (
        "chat", {"messages": TALK[:4]}, "must end with an answer by the assistant",
    ),
    "OpenAI messages without weight": (
        "chat", {"messages": [ASKED, {**SAID, "weight": 0}]}, "has no supervised answer",
    ),
    "OpenAI messages of weight 0.5": (
        "chat", {"messages": [ASKED, {**SAID, "weight": 0.5}]}, "has the weight 0.5",
    ),
    "ShareGPT that begins with an answer": (
        "chat", {"conversations": SHAREGPT[2:]}, "must alternate between user and assistant",
    ),
    "several turns as an instruction": (
        "instruct", {"messages": TALK}, "has 2 turns, which only the chat task reads",
    ),
    "a question without an answer as an instruction": (
        "instruct", {"messages": TALK[:2]}, "column messages: must end with an answer",
    ),
    "a response that is no text": (
        "instruct", {**ALPACA, "output": 7, "tools": TOOLS},
        "column output must hold a text, not int; fix the row",
    ),
    "Alpaca with history as an instruction": (
        "instruct", {**ALPACA, "history": [["a", "b"]]}, "which only the chat task reads",
    ),
}  # fmt: skip


# Files none of whose rows is an instruction: setting `data.skip_invalid` would leave nothing.
UNKNOWN = {
    "TRL preferences": (
        "instruct", {"prompt": "a", "chosen": "b", "rejected": "c"},
        "no column 'instruction'; the columns are: prompt, chosen, rejected; name the right one "
        "with "
        "data.columns.instruction=COLUMN",
    ),
    "axolotl input_output": (
        "instruct", {"segments": [{"label": True, "text": "a"}]}, "the columns are: segments",
    ),
    "two answers": (
        "instruct", {"question": "a", "answer": "b", "response": "c"},
        "no column 'instruction'; the columns are: question, answer, response",
    ),
    "Alpaca for another task": (
        "summarize", ALPACA, "the rows look like Alpaca: instruction, input, output; the "
        "instruct task reads them",
    ),
    "messages for plain language modelling": (
        "pretrain", {"messages": TALK}, "the chat task reads them",
    ),
}  # fmt: skip


def open_train(path, task, **data):
    path = str(path)
    return open_splits(Data(train=path, validation=path, test=path, **data), get_task(task))[
        "train"
    ]


def pieces_to_tokens(pieces, tokenizer):
    """input_ids and labels of (text, whether supervised) pieces, in which <eos> ends a text."""
    input_ids, labels = [], []
    for text, is_supervised in pieces:
        *ended, last = text.split("<eos>")
        parts = [*encode_text([*ended, last], tokenizer)]
        ids = [token for part in parts[:-1] for token in [*part, tokenizer.eos_token_id]]
        ids += parts[-1]
        input_ids += ids
        labels += ids if is_supervised else [IGNORE_INDEX] * len(ids)
    return input_ids, labels


@pytest.mark.parametrize("name", READ)
def test_a_file_of_a_known_shape_is_read(tmp_path, tokenizer, name):
    write, task, row, pieces, shape = READ[name]
    rows = open_train(write([row, row], tmp_path / "rows"), task)
    assert rows.shape.name == shape
    first, second = rows
    example = to_example(first, rows.task)
    assert example == to_example({**second, "id": first["id"], "where": first["where"]}, rows.task)
    assert "".join(text for text, _ in pieces[:-1]).replace("<eos>", "") == example.prompt_text
    assert pieces[-1][0] == f"{example.completion}<eos>"
    assert [text.strip() for text in example.references] == [example.completion.strip()]
    encoded, _ = encode_rows([first], rows.task, tokenizer, EncodingOptions(max_length=10_000))
    assert (encoded[0]["input_ids"], encoded[0]["labels"]) == pieces_to_tokens(pieces, tokenizer)


@pytest.mark.parametrize("name", [*REFUSED, *UNKNOWN])
def test_a_file_of_another_shape_is_refused_with_advice(tmp_path, name):
    task, row, expected = (REFUSED | UNKNOWN)[name]
    path = jsonl([row], tmp_path / "rows")
    with pytest.raises(UserError) as error:
        open_train(path, task)
    assert str(error.value).startswith(f"{path}:1: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("chat", {"system": "Drop me.", "messages": [{**SYSTEM, "role": "System"}, ASKED, SAID]}),
        ("chat", {"instruction": "Who keeps a goat?", "output": "Mara.", "system": "Be brief.",
                  "input": float("nan"), "history": float("nan")}),
        ("instruct", {"instruction": "Who keeps a goat?", "output": "Mara.", "system": "Be brief.",
                      "input": float("nan"), "history": float("nan")}),
    ],
)  # fmt: skip
def test_role_names_in_capitals_and_nan_in_optional_columns_are_read(tmp_path, task, row):
    (row,) = open_train(jsonl([row], tmp_path / "rows"), task)
    example = to_example(row, get_task(task))
    assert example.prompt_text.startswith("Be brief.\n")
    assert "Drop me." not in example.prompt_text
    assert example.completion == " Mara."


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"instruction": [ASKED], "output": [SAID]}, {"input": "context"}, "no column 'context'"),
        ({"prompt": [ASKED], "completion": [SAID]}, {"output": "answer"}, "no column 'answer'"),
        ({"prompt": [ASKED], "a": [SAID], "b": [SAID]}, {"output": ["a", "b"]}, "from one column"),
    ],
)
def test_missing_columns_of_messages_are_refused(tmp_path, row, columns, expected):
    path = jsonl([row], tmp_path / "rows")
    with pytest.raises(UserError, match=f":1: .*{expected}"):
        open_train(path, "instruct", columns=columns)


def test_columns_that_the_recipe_names_can_hold_messages(tmp_path):
    path = jsonl([{"prompt": [ASKED], "chosen": [SAID], "completion": "No."}], tmp_path / "rows")
    (row,) = open_train(path, "instruct", columns={"output": "chosen"})
    assert (row["instruction"], row["output"]) == ("Who keeps a goat?", "Mara.")


@pytest.mark.parametrize("history", [3, "[]", {"a": "b"}])
def test_a_history_that_is_not_a_list_of_pairs_is_refused(tmp_path, history):
    path = jsonl([{"instruction": "i", "output": "o", "history": history}], tmp_path / "rows")
    with pytest.raises(UserError, match=":1: column history must be a list"):
        open_train(path, "chat")


TURN = st.text("ab \n", min_size=1, max_size=8).map(str.strip).filter(bool)
WEIGHT = st.sampled_from([0, 1, None])
TALKS = st.lists(  # of 8 conversations: the system's message, and what is asked and said
    st.tuples(
        st.none() | st.just("") | TURN,
        st.lists(st.tuples(TURN, TURN, WEIGHT), min_size=1, max_size=5),
    ),
    min_size=8, max_size=8,
)  # fmt: skip


@settings(max_examples=25)
@given(talks=TALKS, max_length=st.integers(20, 200))
def test_weights_decide_which_answers_are_supervised(tokenizer, talks, max_length):
    task, rows, expected = get_task("chat"), [], []
    for system, turns in talks:
        messages = weighted_messages(system, turns)
        is_supervised = [weight != 0 for _, _, weight in turns]
        if not any(is_supervised):
            with pytest.raises(ValueError, match="has no supervised answer"):
                task.chat.parse(messages)
            continue
        num_kept = len(turns) - is_supervised[::-1].index(True)
        pieces = [(system, False)] if system else []
        for number, (asked, said, _) in enumerate(turns[:num_kept]):
            line = "\n" if pieces else ""
            pieces.append((f"{line}User: {asked}\nAssistant:", False))
            pieces.append((f" {said}<eos>", is_supervised[number]))
        rows.append({"id": "0", "where": str(len(rows)), "messages": messages})
        answer = len(pieces_to_tokens(pieces[-1:], tokenizer)[0])
        expected.append((*pieces_to_tokens(pieces, tokenizer), answer))
    whole, encoding_report = encode_rows(rows, task, tokenizer, EncodingOptions(max_length=10_000))
    found = [(row["input_ids"], row["labels"]) for row in whole]
    assert found == [(ids, labels) for ids, labels, _ in expected]
    assert encoding_report.tokens["supervised"] == sum(
        label != IGNORE_INDEX for _, labels, _ in expected for label in labels
    )
    cut, encoding_report = encode_rows(rows, task, tokenizer, EncodingOptions(max_length))
    for encoded in cut:  # what is left of a long conversation ends like the whole one
        _, labels, answer = expected[int(encoded["where"])]
        assert len(encoded["input_ids"]) <= max_length
        assert encoded["labels"][-answer:] == labels[-answer:]
        left = [label for label in encoded["labels"] if label != IGNORE_INDEX]
        whole_labels = [label for label in labels if label != IGNORE_INDEX]
        assert left == whole_labels[len(whole_labels) - len(left) :]
