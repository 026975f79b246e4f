"""Instruction data as Alpaca, OpenAI, ShareGPT and others format it, and as programs write it."""

import json

import pandas
from datasets import Dataset
from rows import write_jsonl

ALPACA = {
    "instruction": "Name the goat's keeper.",
    "input": "Mara keeps a goat.",
    "output": "Mara keeps it.",
}


ALPACA_PROMPT = "Instruction: Name the goat's keeper.\nInput: Mara keeps a goat.\nResponse:"


NO_INPUT_PROMPT = "Instruction: Name the goat's keeper.\nResponse:"


SYSTEM = {"role": "system", "content": "Be brief."}


ASKED = {"role": "user", "content": "Who keeps a goat?"}


SAID = {"role": "assistant", "content": "Mara."}


ASKED_MORE = {"role": "user", "content": "And bees?"}


SAID_MORE = {"role": "assistant", "content": "Otto."}


TALK = [SYSTEM, ASKED, SAID, ASKED_MORE, SAID_MORE]


SINGLE = [("User: Who keeps a goat?\nAssistant:", False), (" Mara.<eos>", True)]


WHOLE_TALK = [
    ("Be brief.\nUser: Who keeps a goat?\nAssistant:", False),
    (" Mara.<eos>", True),
    ("\nUser: And bees?\nAssistant:", False),
    (" Otto.<eos>", True),
]


SHAREGPT = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Who keeps a goat?"},
    {"from": "gpt", "value": "Mara."},
    {"from": "human", "value": "And bees?"},
    {"from": "gpt", "value": "Otto."},
]


TOOLS = [{"type": "function", "function": {"name": "find_keeper", "parameters": {}}}]


CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find_keeper"}}],
}


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "Mara"}


PICTURE = [
    {"type": "text", "text": "Who is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.org/mara.png"}},
]


def answer(*prompt_and_response):
    """The pieces of a row of a single turn."""
    prompt, response = prompt_and_response
    return [(prompt, False), (f" {response}<eos>", True)]


def jsonl(rows, path):
    return write_jsonl(path.with_suffix(".jsonl"), rows)


def json_list(rows, path):
    """As LLaMA-Factory's files are: one indented list."""
    path = path.with_suffix(".json")
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), "utf-8")
    return path


def datasets_jsonl(rows, path):
    path = path.with_suffix(".jsonl")
    Dataset.from_list(rows).to_json(path)
    return path


def datasets_parquet(rows, path):
    path = path.with_suffix(".parquet")
    Dataset.from_list(rows).to_parquet(path)
    return path


def datasets_csv(rows, path):
    path = path.with_suffix(".csv")
    Dataset.from_list(rows).to_csv(path)
    return path


def pandas_csv(rows, path):
    """With the index as a first column without a name, as `to_csv` writes it."""
    path = path.with_suffix(".csv")
    pandas.DataFrame(rows).to_csv(path)
    return path


def pandas_jsonl(rows, path):
    path = path.with_suffix(".jsonl")
    pandas.DataFrame(rows).to_json(path, orient="records", lines=True)
    return path


def excel_csv(rows, path):
    """As "CSV UTF-8" of Excel: a byte order mark, and CRLF at line ends."""
    path = path.with_suffix(".csv")
    pandas.DataFrame(rows).to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n")
    return path


def weighted_messages(system, turns):
    """A conversation of (question, answer, weight of the answer or None) after an optional system
    message."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    for asked, said, weight in turns:
        weighted = {} if weight is None else {"weight": weight}
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": said, **weighted})
    return messages
