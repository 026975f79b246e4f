"""Rows and plain text become the same prompts as in training."""

import pytest
from rows import write_jsonl

from llmkit.generation.prompts import PromptReader
from llmkit.tasks import get_task, with_template


def prompt_of(segments):
    return "".join(segment.text for segment in segments)


@pytest.mark.parametrize(
    ("template", "prompt", "expected"),
    [
        (None, "The ferry left.", "The ferry left.\n\nTL;DR:"),
        (None, "The ferry left.\n\nTL;DR: ", "The ferry left.\n\nTL;DR:"),
        ("Sum: {document}", "The ferry left.", "Sum: The ferry left."),
    ],
)
def test_plain_text_is_filled_into_the_template_only_once(template, prompt, expected):
    task = get_task("summarize")
    task = task if template is None else with_template(task, template)
    assert prompt_of(PromptReader(task, {}).segments_from_text(prompt)) == expected
    assert prompt_of(PromptReader(task, {}, is_raw=True).segments_from_text(prompt)) == prompt


@pytest.mark.parametrize(
    ("task", "prompt", "expected"),
    [
        ("chat", "Who?", "User: Who?\nAssistant:"),
        ("chat", "User: Who?\nAssistant:", "User: Who?\nAssistant:"),
        ("qa", "Context: A.\nQuestion: B?\nAnswer:", "Context: A.\nQuestion: B?\nAnswer:"),
        ("reason", "1 + 1?", "Question: 1 + 1?\nAnswer:"),
        ("pretrain", "Once upon", "Once upon"),
    ],
)
def test_plain_text_becomes_the_training_prompt_of_each_task(task, prompt, expected):
    assert prompt_of(PromptReader(get_task(task), {}).segments_from_text(prompt)) == expected


MESSAGES = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Mara."},
    {"role": "user", "content": "When?"},
]


CONVERSATION = "User: Who?\nAssistant: Mara.\nUser: When?\nAssistant:"


@pytest.mark.parametrize(
    ("task", "columns", "row", "prompt", "references"),
    [
        ("summarize", {}, {"document": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {}, {"prompt": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {}, {"prompt": "x", "document": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {"document": "prompt"}, {"prompt": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {}, {"document": "A b.", "summary": "A."}, "A b.\n\nTL;DR:", ["A."]),
        ("qa", {"context": "p.c"}, {"p": {"c": "A."}, "question": "B?"},
         "Context: A.\nQuestion: B?\nAnswer:", None),
        *(
            ("qa", {}, {"context": "A.", "question": "B?", "answers": answers},
             "Context: A.\nQuestion: B?\nAnswer:", references)
            for answers, references in (
                ([], [""]), ({"text": [], "answer_start": []}, [""]), ("", None), (None, None)
            )
        ),
        ("chat", {}, {"messages": MESSAGES}, CONVERSATION, None),
        ("chat", {}, {"messages": [*MESSAGES, {"role": "assistant", "content": "Now."}]},
         CONVERSATION, ["Now."]),
        ("chat", {}, {"messages": [*MESSAGES, {"role": "assistant", "content": "x", "weight": 0}]},
         CONVERSATION, None),
        ("pretrain", {}, {"prompt": "Once"}, "Once", None),
        ("pretrain", {}, {"text": "Once"}, "Once", None),
        ("pretrain", {"text": "body"}, {"body": "Once"}, "Once", None),
    ],
)  # fmt: skip
def test_rows_become_the_prompts_of_each_task(tmp_path, task, columns, row, prompt, references):
    path = write_jsonl(tmp_path / "in.jsonl", [row])
    (prompt_read,) = PromptReader(get_task(task), columns).read(path)
    assert (prompt_read.text, prompt_read.references) == (prompt, references)
    assert prompt_read.columns == row


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_each_line_of_a_text_file_is_a_prompt(tmp_path, newline):
    path = tmp_path / "in.txt"
    path.write_bytes(newline.join(["First.", "", "Second one. "]).encode())
    first, second = PromptReader(get_task("pretrain"), {}).read(path)
    assert (first.text, second.text) == ("First.", "Second one.")
    assert second.where == f"{path}:3"
    (summary, _) = PromptReader(get_task("summarize"), {}).read(path)
    assert summary.text == "First.\n\nTL;DR:"


def test_a_nan_id_is_replaced_by_the_row_number(tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"id": 7, "text": "A."}\n{"id": NaN, "text": "B."}\n')
    prompts = PromptReader(get_task("classify"), {}).read(path)
    assert [prompt.id for prompt in prompts] == [7, "1"]
