"""The splits of a recipe: disjoint, complete, and reported."""

from types import SimpleNamespace

import pytest
from held_out_rows import HELD_OUT, PRETRAIN, SUMMARIZE, split
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.reports import terminal
from llmkit.runtime.console import make_console
from llmkit.tasks import get_task

QA = get_task("qa")


def test_data_rows_is_suggested_for_a_file_with_one_text_per_line(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("One.\nTwo.\nThree.\n")
    with pytest.raises(UserError, match=r"1 row: too few.*if each line is a text, set data.rows"):
        split(PRETRAIN, path)
    assert all(split(PRETRAIN, path, rows="line").values())


def test_the_end_of_one_long_text_is_held_out_as_advised(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("The ferry left. " * 100)
    with pytest.raises(UserError, match=r"data\.rows=document and data\.held_out=end"):
        split(PRETRAIN, path)
    assert all(split(PRETRAIN, path, rows="document", held_out="end").values())


def test_a_run_prints_how_many_rows_are_held_out(llmkit, tiny_gpt2, tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(12))
    result = llmkit("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={path}", *SHORT)
    assert result.exit_code == 0, result.output
    found = split(SUMMARIZE, path)
    counts = [len(found[name]) for name in HELD_OUT]
    said = "held out {} for validation and {} for test of 12 rows by the hash of their document"
    assert said.format(*counts) in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("how", "num_rows", "said"),
    [
        ("from the end", 40, "held out 40 for validation and 40 for test of 180 rows from the end"),
        ("from the end", 30, "held out rows from the end; the first 30 for validation and the fir"),
        ("from the end of the text", 1, "held out validation and test from the end of the text;"),
    ],
)
def test_how_rows_are_held_out_is_printed(capsys, how, num_rows, said):
    rows = SimpleNamespace(held_out=how, first=None if num_rows > 30 else 30)
    sets = dict.fromkeys(HELD_OUT, SimpleNamespace(rows=[{}] * num_rows))
    terminal.show_held_out(make_console(), dict.fromkeys(HELD_OUT, rows), 100, sets)
    assert f"split   {said}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ("document", ["One.\nTwo.\n\nThree."]),
        ("paragraph", ["One.\nTwo.", "Three."]),
        ("line", ["One.", "Two.", "Three."]),
    ],
)
def test_rows_of_a_text_file(tmp_path, rows, texts):
    path = tmp_path / "texts.txt"
    path.write_text("\nOne.\nTwo.\n\nThree.\n")
    found = split(PRETRAIN, path, rows=rows, validation=str(path), test=str(path))
    assert [row["text"] for row in found["train"]] == texts
    assert found["train"][0]["where"] == f"{path}:2"


def test_splits_by_hash_are_disjoint_complete_and_keep_copies_together(tmp_path):
    rows = summary_rows(300) + summary_rows(300)
    path = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    splits = {name: list(split) for name, split in open_splits(Data(train=path), SUMMARIZE).items()}
    texts = {name: {row["document"] for row in split} for name, split in splits.items()}
    assert sum(len(split) for split in splits.values()) == 600
    assert not texts["train"] & texts["validation"]
    assert not texts["train"] & texts["test"]
    assert not texts["validation"] & texts["test"]
    assert 15 <= len(texts["test"]) <= 50


def test_no_test_rows_are_held_out_if_a_test_set_is_named(tmp_path):
    path = str(write_jsonl(tmp_path / "rows.jsonl", summary_rows(200)))
    splits = open_splits(Data(train=path, test=path), SUMMARIZE)
    assert len(list(splits["test"])) == 200
    assert len(list(splits["train"])) + len(list(splits["validation"])) == 200


def test_splits_by_hash_keep_rows_of_one_source_together(tmp_path):
    rows = [
        {"context": TEXT[0] + f" {i}", "question": f"Q{k}?", "answers": [f"a{k}"]}
        for i in range(50)
        for k in range(4)
    ]
    path = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    contexts = [{row["context"] for row in s} for s in open_splits(Data(train=path), QA).values()]
    assert sum(len(c) for c in contexts) == len(set.union(*contexts)) == 50


def test_embedded_rows_can_be_combined_with_others(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(30))
    tests = {"mine": str(path), "theirs": "embedded"}
    columns = {"document": "document"}
    embedded = {name: list(rows) for name, rows in open_splits(Data(), SUMMARIZE).items()}
    data = Data(train="embedded", test=str(path), tests=tests, encoding="ascii", columns=columns)
    found = {name: list(rows) for name, rows in open_splits(data, SUMMARIZE).items()}
    assert found["train"] == embedded["train"]
    assert found["validation"] == embedded["validation"]
    assert len(found["test"]) == len(found["mine"]) == 30
    assert found["theirs"] == embedded["test"]
    found = split(SUMMARIZE, path, test="embedded")
    assert found["test"] == embedded["test"]
    assert len(found["train"]) + len(found["validation"]) == 30


def test_limit_reads_the_first_rows_only(tmp_path):
    path = str(write_jsonl(tmp_path / "rows.jsonl", summary_rows(50)))
    splits = open_splits(Data(train=path, validation=path, test=path, limit=7), SUMMARIZE)
    assert [len(list(split)) for split in splits.values()] == [7, 7, 7]


def test_an_unknown_column_of_the_task_is_refused(tmp_path):
    path = str(write_jsonl(tmp_path / "rows.jsonl", summary_rows(5)))
    with pytest.raises(UserError, match=r"no such column; .*; did you mean summary"):
        open_splits(Data(train=path, columns={"sumary": "x"}), SUMMARIZE)


def test_rows_of_plain_text_have_a_shape(tmp_path):
    path = str(write_jsonl(tmp_path / "rows.jsonl", [{"text": "A goat."}]))
    splits = open_splits(Data(train=path, validation=path, test=path), PRETRAIN)
    assert str(splits["train"].shape) == "plain text: text"
