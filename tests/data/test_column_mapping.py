"""`data.columns` maps columns of the data to those of the task, for all splits or for one."""

import pytest
from rows import summary_rows, write_jsonl

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Data
from llmkit.data.column_mapping import check_columns
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.tasks import TASKS, get_task


def overridden(name, *overrides):
    """The columns that a recipe gets from the command line."""
    return load_recipe(name, overrides=tuple(overrides)).data


def test_a_split_can_have_its_own_columns(tmp_path):
    train = write_jsonl(tmp_path / "train.jsonl", [{"text": "A", "tldr": "a", "abstract": "no"}])
    test = write_jsonl(tmp_path / "test.jsonl", [{"text": "B", "abstract": "b"}])
    data = overridden(
        "summarize", f"data.train={train}", f"data.validation={train}", f"data.test={test}",
        f"data.tests.more={test}", "data.columns.document=text", "data.columns.summary=tldr",
        "data.columns.test.summary=abstract", "data.columns.more.summary=[abstract, text]",
    )  # fmt: skip
    splits = open_splits(data, get_task("summarize"))
    summaries = {name: [row["summary"] for row in rows] for name, rows in splits.items()}
    assert summaries == {
        "train": ["a"], "validation": ["a"], "test": ["b"], "more": [["b", "B"]],
    }  # fmt: skip


def test_generate_needs_no_columns_of_other_splits():
    """A run on a saved folder, whose recipe names no test rows, predicts without that folder."""
    data = Data(train="gone", columns={"test": {"document": "body"}})
    check_columns(data, TASKS["summarize"])
    with pytest.raises(UserError, match=r"data.columns.test: these rows"):
        open_splits(data, TASKS["summarize"])


def test_columns_by_split_are_read_from_a_recipe_file(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"document": "A", "s1": "a", "s2": "b"}])
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"task: summarize\ntrain: {{max_steps: 1}}\ndata:\n  train: {rows}\n  validation: {rows}\n"
        f"  test: {rows}\n  columns: {{summary: s1, test: {{summary: [s2, s1]}}}}\n"
    )
    splits = open_splits(load_recipe(str(recipe)).data, get_task("summarize"))
    assert [row["summary"] for name in ("train", "test") for row in splits[name]] == [
        "a",
        ["b", "a"],
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"tset": {"summary": "a"}}, "train, validation, test; did you mean test?"),
        ({"test": {"sumary": "a"}}, "data.columns.test.sumary: summarize has no such column"),
        ({"validation": {"summary": "a"}}, "these rows are held out from the training rows"),
        ({"document": ["a", "b"]}, "summarize reads document from one column"),
        ({"test": "a"}, "test is a split; name its columns one by one, as in data.columns.test.s"),
        ({"test": {"document": ["a"]}}, "data.columns.test.document: summarize reads document"),
    ],
)
def test_columns_of_unknown_splits_and_names_are_refused(tmp_path, columns, expected):
    path = str(write_jsonl(tmp_path / "rows.jsonl", summary_rows(20)))
    with pytest.raises(UserError) as error:
        open_splits(Data(train=path, test=path, columns=columns), get_task("summarize"))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.columns.summary=[]", "summary takes the name of a column, or a list of names"),
        ("data.columns={summary: 3}", "summary takes the name of a column, or a list of names"),
        ("data.columns.test.summary.x=1", "test.summary takes the name of a column"),
    ],
)
def test_a_value_that_is_not_a_column_name_is_refused_in_one_line(override, expected):
    with pytest.raises(UserError) as error:
        overridden("summarize", override)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_null_removes_a_column_of_the_recipe():
    assert overridden("translate", "data.columns.source=null").columns == {"target": "de"}
