"""Templates of users: any column of the data, sections, and mistakes that are refused."""

import pytest
from mapped_rows import open_at
from rows import TEXT, write_jsonl
from task_rows import ROWS

from llmkit.data.encode import encode_text
from llmkit.errors import UserError
from llmkit.model.load import load_model
from llmkit.tasks import TASKS, to_example
from llmkit.tasks.templates import with_template

# As in the repository of Stanford Alpaca (train.py, PROMPT_DICT).
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)


ALPACA_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
)


ALPACA_TEMPLATE = (
    "Below is an instruction that describes a task{#input}, paired with an input that provides "
    "further context{/input}. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n{#input}### Input:\n{input}\n\n{/input}### Response:"
)


def test_a_template_can_name_any_column(tmp_path):
    rows = [
        {"document": "A ferry left.", "summary": "s", "title": "Harbour", "year": 1901},
        {"document": "A ferry left.", "summary": "s", "title": None, "year": 1902},
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    template = "{year} {#title}({title}) {/title}{heading}: {document} =>"
    task = with_template(TASKS["summarize"], template)
    prompts = [
        to_example(row, task).prompt_text
        for row in open_at(path, task, columns={"heading": "summary"})["train"]
    ]
    assert prompts == ["1901 (Harbour) s: A ferry left. =>", "1902 s: A ferry left. =>"]


def test_a_missing_column_that_only_the_template_names_is_refused(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"document": "d", "summary": "s", "title": "t"}])
    task = with_template(TASKS["summarize"], "{titel}: {document} =>")
    with pytest.raises(UserError) as error:
        open_at(path, task)
    assert (
        "no column 'titel'; the columns are: document, summary, title; name one of them in the"
        in str(error.value)
    )
    assert "data.columns.titel=title" in str(error.value)


@pytest.mark.parametrize("text", ["Mara keeps a goat.", "", None])
def test_one_template_makes_both_prompts_of_alpaca(tmp_path, text):
    row = {"instruction": " Who keeps it? ", "input": text, "output": "Mara."}
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    task = with_template(TASKS["instruct"], ALPACA_TEMPLATE)
    (row,) = open_at(path, task)["train"]
    expected = ALPACA_WITH_INPUT if text else ALPACA_WITHOUT_INPUT
    assert to_example(row, task).prompt_text == expected.format(
        instruction="Who keeps it?", input=text
    )


def test_a_prompt_with_sections_typed_whole_has_the_tokens_of_training(tiny_gpt2):
    tokenizer = load_model(str(tiny_gpt2))[1]
    task = with_template(TASKS["instruct"], ALPACA_TEMPLATE)
    for text in (TEXT[0], ""):
        row = {"id": "0", "instruction": TEXT[2], "input": text, "system": "", "output": "x"}
        example = to_example(row, task)
        ids = encode_text([segment.text for segment in example.prompt], tokenizer)
        assert [i for part in ids for i in part] == encode_text([example.prompt_text], tokenizer)[0]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{documnt} TL;DR:", "{document} is missing; {documnt} looks like a misspelling of it"),
        ("{document} {summary} TL;DR:", "{summary} is what the model has to write"),
        ("{#title}{title} {document} TL;DR:", "{#title} has no partner"),
        ("{document} {where} TL;DR:", "data.columns.NAME=where"),
        ("Summary:", "{document} is missing; put it where the document belongs"),
        ("{instruction} {input}:", "data.columns.document=COLUMN; the instruct task has {instruct"),
        ("{document} TL;DR: ", "ends in white space"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(template, expected):
    with pytest.raises(UserError) as error:
        with_template(TASKS["summarize"], template)
    assert expected in str(error.value)


def test_a_users_template_replaces_that_of_the_task():
    example = to_example(
        {"id": "1", **ROWS["translate"]},
        with_template(TASKS["translate"], "Say in German: {source} ->"),
    )
    assert example.prompt_text == "Say in German: The dog. ->"
