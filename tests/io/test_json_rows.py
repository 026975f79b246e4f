"""JSON files: every layout gives its rows, and a file is parsed once until it changes."""

import json
import os
import time

import pytest
from written_files import CLASSIFY, LABELED, all_rows, lines_of

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.io import json_rows
from llmkit.io.row_files import read, read_all
from llmkit.tasks import get_task

BATCH = {"custom_id": "1", "response": {"body": {"choices": [{"message": {"content": "Left."}}]}}}


def messages(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


ONE_ROW = {
    "messages": {"id": "1", "messages": messages("When?", "At noon.")},
    "messages alone": {"messages": messages("When?", "At noon.")},
    "messages and tools": {"messages": messages("When?", "At noon."), "tools": [{"name": "clock"}]},
    "messages in another column": {"id": 1, "dialog": messages("When?", "At noon.")},
    "sharegpt": {"id": "1", "conversations": [{"from": "human", "value": "When?"},
                                              {"from": "gpt", "value": "At noon."}]},
    "conversational prompt": {"prompt": messages("When?"), "completion": messages("", "Now.")[1:]},
    "prompt and completion": {"prompt": "When?", "completion": "At noon."},
    "alpaca": {"instruction": "When?", "input": "", "output": "At noon.", "history": [["a", "b"]]},
    "several references": {"document": "The ferry left.", "summary": ["It left.", "Gone."]},
    "squad answers": {"id": "a", "context": "Mara keeps a goat.", "question": "Who keeps a goat?",
                      "answers": [{"text": "Mara", "answer_start": 0}]},
    "hub answers": {"id": "a", "context": "Mara keeps a goat.", "question": "Who keeps a goat?",
                    "answers": {"text": ["Mara"], "answer_start": [0]}},
    "no answer": {"context": "Mara keeps a goat.", "question": "Why?", "answers": []},
    "hub translation": {"translation": {"en": "The ferry.", "de": "Die Fähre."}},
    "languages": {"en": "The ferry.", "de": "Die Fähre."},
    "prediction": {"id": "1", "prediction": "It left.", "references": ["Gone.", "It left."]},
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_ROW)
@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_in_a_json_file_is_one_row(tmp_path, name, indent):
    path = tmp_path / "row.json"
    path.write_text(json.dumps(ONE_ROW[name], indent=indent))
    assert [row for _, row in read(path)] == [ONE_ROW[name]]
    path.write_text("\n".join([json.dumps(ONE_ROW[name], indent=indent)] * 2))
    assert [row for _, row in read(path)] == [ONE_ROW[name]] * 2


@pytest.mark.parametrize(
    "wrapped",
    [
        {"data": LABELED},
        {"version": "1.1", "data": LABELED},
        {"id": "reviews", "text": "Reviews of May.", "data": LABELED},
        {"name": "reviews", "count": 6, "reviews": LABELED},
    ],
)
def test_a_list_of_rows_next_to_metadata_is_read(tmp_path, wrapped):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(wrapped))
    assert all_rows(path, CLASSIFY) == LABELED


def squad(version):
    """As https://rajpurkar.github.io/SQuAD-explorer/ distributes it, in one line."""
    mara = {"id": "5a", "question": "Who keeps a goat?",
            "answers": [{"text": "Mara", "answer_start": 0}] * 2}  # fmt: skip
    otto = {"id": "5b", "question": "Who keeps bees?",
            "answers": [{"text": "Otto", "answer_start": 19}]}  # fmt: skip
    ida = {"id": "5c", "question": "Who keeps an owl?", "answers": [], "is_impossible": True,
           "plausible_answers": [{"text": "Ida", "answer_start": 0}]}  # fmt: skip
    second = [ida] if version == "v2.0" else [{**ida, "answers": [], "is_impossible": False}]
    articles = [
        {"title": "Animals", "paragraphs": [
            {"context": "Mara keeps a goat. Otto keeps bees.", "qas": [mara, otto]}]},
        {"title": "Birds", "paragraphs": [
            {"context": "Ida keeps a hen.", "qas": second}, {"context": "None.", "qas": []}]},
    ]  # fmt: skip
    return {"version": version, "data": articles}


@pytest.mark.parametrize("unwrap", [lambda content: content, lambda content: content["data"]])
@pytest.mark.parametrize("version", ["1.1", "v2.0"])
def test_files_in_the_format_of_squad_are_read(tmp_path, version, unwrap):
    path = tmp_path / "train-v.json"
    path.write_text(json.dumps(unwrap(squad(version))))
    data = Data(train=str(path), validation=str(path), test=str(path))
    rows = list(open_splits(data, get_task("qa"))["train"])
    assert [(row["id"], row["context"][:4], row["answers"]) for row in rows] == [
        ("5a", "Mara", ["Mara", "Mara"]), ("5b", "Mara", ["Otto"]), ("5c", "Ida ", []),
    ]  # fmt: skip
    assert rows[2]["where"] == f"{path}: data[1].paragraphs[0].qas[0]"
    titles = [row["title"] for _, row in read(path)]
    assert titles == ["Animals", "Animals", "Birds"]


def test_broken_questions_of_squad_are_named_and_can_be_skipped(tmp_path):
    content = squad("v2.0")
    content["data"][0]["paragraphs"] += [{"context": "No questions."}, "text"]
    content["data"][1]["paragraphs"][1]["qas"] = ["Who?"]
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps(content))
    broken = [row for _, row in read_all(path) if isinstance(row, UserError)]
    assert [str(error).removeprefix(f"{path}: ") for error in broken] == [
        "data[0].paragraphs[1]: no list `qas` of questions; fix the paragraph",
        "data[0].paragraphs[2]: no list `qas` of questions; fix the paragraph",
        "data[1].paragraphs[1].qas[0]: a row is a JSON object with columns, not str",
    ]
    assert len(all_rows(path, get_task("qa"), skip_invalid=True)) == 3


def test_a_json_file_is_parsed_once_until_it_changes(tmp_path, monkeypatch):
    path, old = tmp_path / "rows.json", 1_700_000_000
    parsed = []
    parse = json_rows._parse
    monkeypatch.setattr(json_rows, "_parse", lambda text, p: parsed.append(p) or parse(text, p))
    monkeypatch.setattr(json_rows, "_parsed", {})

    def write(text, seconds):
        path.write_text(json.dumps([{"text": text}]))
        os.utime(path, (seconds, seconds))

    def texts():
        return [row["text"] for _, row in read(path)]

    write("one", old)
    assert [texts() for _ in range(3)] == [["one"]] * 3
    assert len(parsed) == 1
    write("two", old + 1)
    assert [texts() for _ in range(3)] == [["two"]] * 3
    assert len(parsed) == 2
    write("six", time.time())  # a change in the same tick would not show, so it is not kept
    assert [texts() for _ in range(3)] == [["six"]] * 3
    assert len(parsed) == 5
    monkeypatch.setattr(json_rows, "MAX_CACHED_CHARACTERS", 2)
    write("ten", old + 2)
    assert [texts() for _ in range(2)] == [["ten"]] * 2
    assert not json_rows._parsed


def test_a_batch_of_the_openai_api_is_read_by_dotted_columns(tmp_path):
    path = tmp_path / "batch_output.jsonl"
    lines_of(path, json.dumps({**BATCH, "document": "The ferry left at noon."}))
    columns = {"summary": "response.body.choices.message.content"}
    rows = all_rows(path, columns=columns)
    assert rows == [{"document": "The ferry left at noon.", "summary": ["Left."]}]
