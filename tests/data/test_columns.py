"""Columns of the data: by split, several as references, any of them in a template; rows that are
left out; languages of a translation."""

import json

import pytest
from mapped_rows import conversation, open_at
from rows import write_jsonl

from llmkit.config.schema import Evaluation
from llmkit.data.columns import read_columns, row_id, select_prompt, shape_of
from llmkit.errors import UserError
from llmkit.tasks import TASKS, get_task, to_example

REFERENCES = {
    "summarize": {"document": "A ferry left."},
    "translate": {"source": "A ferry left."},
    "qa": {"context": "A ferry left.", "question": "What left?"},
    "reason": {"question": "1 + 1?"},
    "instruct": {"instruction": "Say something."},
}


@pytest.mark.parametrize("name", REFERENCES)
def test_several_columns_are_references(tmp_path, name):
    task = TASKS[name]
    row = {**REFERENCES[name], "a": "first", "b": "", "c": "third", "topic": "sea"}
    rows = [row, {**row, "a": None}, {**row, "a": " ", "c": ["x", "y"]}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    columns = {task.target: ["a", "b", "c"]}
    splits = open_at(path, task, Evaluation(by=["topic"]), columns=columns)
    examples = [to_example(row, task) for row in splits["test"]]
    assert [e.references for e in examples] == [["first", "third"], ["third"], ["x", "y"]]
    assert [e.completion for e in examples] == [" first", " third", " x"]
    assert [row["by"] for row in splits["test"]] == [{"topic": "sea"}] * 3


@pytest.mark.parametrize("name", ["classify", "chat", "pretrain"])
def test_several_reference_columns_are_refused_for_a_task_with_one_answer(tmp_path, name):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a", "label": "b"}])
    with pytest.raises(UserError, match="from one column, not from a list"):
        open_at(path, TASKS[name], columns={TASKS[name].target: ["text", "label"]})


def test_a_missing_reference_column_is_named_with_the_existing_ones(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"document": "d", "summary1": "a"}])
    with pytest.raises(
        UserError, match=r"no column 'summary2'; the columns are: document, summary1"
    ):
        open_at(path, TASKS["summarize"], columns={"summary": ["summary1", "summary2"]})
    with pytest.raises(UserError, match=r"data.columns.summary=\[document,summary1\]$"):
        open_at(path, TASKS["summarize"], columns={"summary": "document,summary1"})


@pytest.mark.parametrize(
    ("columns", "task", "advice"),
    [
        (("document", "summary1", "summary2"), "summarize", "summary=[summary1,summary2]"),
        (("document", "summary_1", "summary_2"), "summarize", "summary=[summary_1,summary_2]"),
        (("document", "sumary"), "summarize", "summary=sumary"),
        (("document", "tldr"), "summarize", "summary=COLUMN"),
        (("text", "label1", "label2"), "classify", "label=label"),
        (("source", "target"), "translate", "source=source"),
        (
            ("Document", "SUMMARY"),
            "summarize",
            "document=Document; there is no column 'summary' "
            "either; name it with data.columns.summary=SUMMARY",
        ),
        (("problem", "solution", "answer"), "reason", "question=COLUMN"),
    ],
)
def test_the_right_column_is_suggested(llmkit, tmp_path, columns, task, advice):
    path = write_jsonl(tmp_path / "rows.jsonl", [dict.fromkeys(columns, "a")] * 3)
    result = llmkit("check", task, f"data.train={path}")
    assert result.exit_code == 2
    assert f"name the right one with data.columns.{advice}" in result.stderr


@pytest.mark.parametrize("split", ["validation", "test", "tests.other"])
def test_other_columns_in_a_split_are_named_for_that_split(llmkit, tmp_path, split):
    labeled = [{"text": f"{index}", "label": index % 2} for index in range(40)]
    train = write_jsonl(tmp_path / "train.jsonl", labeled)
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"review": "a", "label": "b"}])
    result = llmkit("check", "classify", f"data.train={train}", f"data.{split}={rows}")
    assert f"data.columns.{split.removeprefix('tests.')}.text=COLUMN" in result.stderr
    write_jsonl(rows, [{"text": "a"}])
    result = llmkit("check", "classify", f"data.train={train}", f"data.{split}={rows}")
    assert "`llmkit generate --input FILE` predicts rows that lack it" in result.stderr


@pytest.mark.parametrize(
    ("task", "row", "prompt"),
    [
        ("chat", conversation("Who?"), "User: Who?\nAssistant:"),
        ("chat", conversation("Who?", "Mara."), "User: Who?\nAssistant:"),
        ("chat", {"conversations": [{"from": "human", "value": "Who?"}]}, "User: Who?\nAssistant:"),
        ("chat", {"instruction": "Who?"}, "User: Who?\nAssistant:"),
        ("instruct", {"instruction": "Who?", "context": "Mara."},
         "Instruction: Who?\nInput: Mara.\nResponse:"),
        ("instruct", {"prompt": "Who?"}, "Instruction: Who?\nResponse:"),
        ("instruct", conversation("Who?"), "Instruction: Who?\nResponse:"),
        ("instruct", {"conversations": [{"from": "Human", "value": "Who?"}]},
         "Instruction: Who?\nResponse:"),
        ("instruct", {"prompt": conversation("Who?")["messages"]},
         "Instruction: Who?\nResponse:"),
        ("chat", {"prompt": conversation("Who?")["messages"]}, "User: Who?\nAssistant:"),
        ("summarize", {"document": "A."}, "A.\n\nTL;DR:"),
    ],
)  # fmt: skip
def test_generate_reads_the_prompt_of_a_row_without_an_answer(task, row, prompt):
    segments = select_prompt(row, TASKS[task], {}, "here")
    assert "".join(segment.text for segment in segments) == prompt


def test_generate_refuses_a_message_of_an_unknown_role():
    row = {"messages": [{"role": ["user"], "content": "Who?"}]}
    for task in ("chat", "instruct"):
        with pytest.raises(UserError, match=r"here: .*message 1 has the role \['user'\]"):
            select_prompt(row, TASKS[task], {}, "here")


TALK = [{"role": "user", "content": "Who left?"}, {"role": "assistant", "content": "Mara."}]


@pytest.mark.parametrize("notation", [json.dumps, str])
@pytest.mark.parametrize(
    ("task", "row", "references"),
    [
        ("chat", {"messages": TALK}, ["Mara."]),
        ("instruct", {"conversations": TALK}, ["Mara."]),
        ("qa", {"context": "c", "question": "q", "answers": ["x", "y"]}, ["x", "y"]),
        ("qa", {"context": "c", "question": "q", "answers": {"text": ["x"], "start": [0]}}, ["x"]),
        ("qa", {"context": "c", "question": "q", "answers": [{"text": "x"}]}, ["x"]),
        ("qa", {"context": "c", "question": "q", "answers": "[sic] x"}, ["[sic] x"]),
        ("classify", {"text": "t", "label": ["x"]}, ["x"]),
        ("summarize", {"document": "d", "summary": ["x", "y"]}, ["x", "y"]),
        ("translate", {"source": "s", "target": ["x's"]}, ["x's"]),
        ("instruct", {"instruction": "List.", "output": "['x']"}, ["['x']"]),
        ("summarize", {"document": "d", "summary": "[1] x"}, ["[1] x"]),
        ("summarize", {"document": "d", "summary": "[1, 2]"}, ["[1, 2]"]),
    ],
)
def test_lists_in_table_cells_are_parsed(task, row, references, notation):
    """As pandas and spreadsheets hold them."""
    task = get_task(task)
    cells = {n: v if isinstance(v, str) else notation(v) for n, v in row.items()}
    read = read_columns(cells, task, {}, shape_of(cells, task, {}), "rows.csv:2")
    assert to_example({"id": "0", **read}, task).references == references


@pytest.mark.parametrize("text", ["{1, 2}", "[0, 5]", "{[1]: 2}", "{}", "[sic]"])
def test_an_answer_in_brackets_is_not_parsed_as_a_list(text):
    row = {"context": "A goat.", "question": "What?", "answers": text}
    assert read_columns(row, TASKS["qa"], {}, None, "rows.csv:2")["answers"] == text
    row = {"text": "A goat.", "label": "{[1]: 2}"}
    assert read_columns(row, TASKS["classify"], {}, None, "rows.csv:2")["label"] == "{[1]: 2}"


@pytest.mark.parametrize(
    ("task", "row", "expected"),
    [
        ("qa", {"context": "c", "question": "q",
                "answers": "{'text': array(['x'], dtype=object), 'answer_start': array([0])}"},
         "column answers holds a printed array .* save the data as jsonl or parquet"),
        ("summarize", {"document": "d", "summary": "[array(['x'], dtype=object)]"},
         "column summary holds a printed array"),
        ("classify", {"Review": "t", "Label": "x"},
         "no column 'text'; .*data.columns.text=COLUMN; there is no column 'label' either; name it "
         "with data.columns.label=Label"),
        ("translate", {"translation": {"source": "a", "target": "b"}},
         "source=translation.source; .* name it with data.columns.target=translation.target"),
        ("pretrain", {"text": ["a", "b"]}, "column text must hold a text, not list"),
        ("classify", {"text": "t", "label": "['x', 'y']"}, "one label, not a list of 2"),
        ("chat", {"messages": "[{'role': 'user'}\n {'role': 'assistant'}]"}, "save the data"),
    ],
)  # fmt: skip
def test_cells_that_hold_no_answer_are_refused(task, row, expected):
    task = get_task(task)
    with pytest.raises(UserError, match=f"rows.csv:2: .*{expected}"):
        read_columns(row, task, {}, shape_of(row, task, {}), "rows.csv:2")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("r7", "r7"), (7, "7"), (7.0, "7"), (7.5, "7.5"), ("007", "007"), (0, "0"), (-0.0, "0"),
     (None, "3"), ("", "3"), (float("nan"), "3")],
)  # fmt: skip
def test_an_id_is_the_same_as_number_and_as_text(value, expected):
    assert row_id({"id": value}, 3) == expected
    assert row_id({}, 3) == "3"
