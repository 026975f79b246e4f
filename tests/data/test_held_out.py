"""Rows held out of the training rows: by hash, from the end, and of few rows."""

from itertools import pairwise

import pytest
from held_out_rows import CLASSIFY, HELD_OUT, PRETRAIN, SUMMARIZE, split
from hypothesis import given
from hypothesis import strategies as st
from rows import summary_rows, write_jsonl
from runs import SHORT

from llmkit.config.schema import Data
from llmkit.data.held_out import by_hash, cut_document
from llmkit.data.splits import open_splits
from llmkit.errors import UserError

SHARES = dict.fromkeys(HELD_OUT, 0.1)


def documents(splits):
    return {name: [row["document"] for row in rows] for name, rows in splits.items()}


@pytest.mark.parametrize("num_rows", [3, 4, 5, 7, 10, 20, 40])
def test_even_a_few_rows_fill_every_split(tmp_path, num_rows):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(num_rows))
    found = documents(split(SUMMARIZE, path))
    assert all(found.values())
    texts = [text for texts in found.values() for text in texts]
    assert sorted(texts) == sorted(row["document"] for row in summary_rows(num_rows))
    assert documents(split(SUMMARIZE, path)) == found


def test_appended_rows_change_the_split_of_few_others(tmp_path):
    places = []
    for num_rows in range(5, 41):
        path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(num_rows))
        found = documents(split(SUMMARIZE, path))
        places.append({text: name for name, texts in found.items() for text in texts})
    moved = [
        sum(after[text] != place for text, place in before.items())
        for before, after in pairwise(places)
    ]
    assert max(moved) <= 2  # the row that a split was given, since it was empty
    assert sum(moved) <= 4


@pytest.mark.parametrize(
    ("num_rows", "named", "said"),
    [
        (1, (), "1 row: too few to hold out validation and test rows"),
        (2, (), "2 rows: too few to hold out validation and test rows; add rows, or name data.val"),
        (1, ("test",), "too few to hold out validation rows; add rows, or name data.validation"),
    ],
)
def test_too_few_rows_to_hold_out_are_refused(tmp_path, num_rows, named, said):
    path = str(write_jsonl(tmp_path / "rows.jsonl", summary_rows(num_rows)))
    for how in ("hash", "end"):
        with pytest.raises(UserError, match="too few") as error:
            split(SUMMARIZE, path, held_out=how, **dict.fromkeys(named, path))
        assert str(error.value).startswith(path)
        assert said in str(error.value)


def test_copies_of_two_sources_cannot_be_split_three_ways(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(2) * 30)
    with pytest.raises(UserError, match=r"60 rows with 2 different sources \(document\): too few"):
        split(SUMMARIZE, path)
    assert all(split(SUMMARIZE, path, test=str(path)).values())


def test_two_rows_are_enough_for_one_split(tmp_path):
    path = str(write_jsonl(tmp_path / "rows.jsonl", summary_rows(2)))
    found = split(SUMMARIZE, path, test=path)
    assert [len(found[name]) for name in ("train", "validation", "test")] == [1, 1, 2]


def labeled(labels):
    return [{"text": f"Row {i}.", "label": label} for i, label in enumerate(labels)]


def test_a_label_of_one_row_stays_in_train_and_the_run_says_so(llmkit, tiny_gpt2, tmp_path):
    rows = labeled([f"once{i}" if i % 4 == 0 else ("pos", "neg")[i % 2] for i in range(120)])
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    splits = open_splits(Data(train=str(path)), CLASSIFY)
    found = {name: list(rows) for name, rows in splits.items()}
    assert sum(map(len, found.values())) == 120
    known = {row["label"] for row in found["train"]}
    assert all(row["label"] in known for name in HELD_OUT for row in found[name])
    assert splits["train"].kept_in_train
    assert len({row["label"] for row in found["train"]}) == 32

    result = llmkit("finetune", "classify", f"model={tiny_gpt2}", f"data.train={path}", *SHORT)
    assert result.exit_code == 0, result.output
    output = " ".join(result.output.split())
    assert "holding them out would leave train without their label" in output
    assert "set data.validation and data.test" in output


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=30).filter(any))
def test_every_label_is_trained_on_and_no_split_is_without_one(labels):
    rows = [{"id": str(i), "where": f"f:{i}", **row} for i, row in enumerate(labeled(labels))]
    known = {*labels} - {""}
    try:
        held = by_hash(rows, CLASSIFY, SHARES, "rows.csv")
    except UserError:  # only where each held-out split cannot have a labeled row
        assert sum(labels.count(label) - 1 for label in known) < 2
        return
    places = [(held.split_of(index, row), row["label"]) for index, row in enumerate(rows)]
    assert {split for split, label in places if label} == {"train", *HELD_OUT}
    assert {label for split, label in places if split == "train"} - {""} == known


def test_the_last_rows_are_held_out_in_order(tmp_path):
    rows = summary_rows(30)
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = documents(split(SUMMARIZE, path, held_out="end", test_fraction=0.2))
    texts = [row["document"] for row in rows]
    assert found == {"train": texts[:21], "validation": texts[21:24], "test": texts[24:]}


def test_a_label_that_only_the_last_rows_have_stays_in_train(tmp_path):
    rows = labeled("ababababababababac")
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    splits = open_splits(Data(train=str(path), held_out="end"), CLASSIFY)
    assert [row["label"] for row in splits["train"]] == [*"ababababababab", "c"]
    assert splits["train"].kept_in_train == [f"{path}:18"]
    path = write_jsonl(tmp_path / "rows.jsonl", labeled("ababababababababcc"))
    with pytest.raises(UserError, match="no row is left for test"):
        split(CLASSIFY, path, held_out="end")


def test_held_out_rows_are_the_last_within_the_limit(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", summary_rows(30))
    found = split(SUMMARIZE, path, held_out="end", limit=10)
    assert [len(rows) for rows in found.values()] == [8, 1, 1]


def test_the_end_of_a_book_is_held_out_from_a_paragraph_on(tmp_path):
    paragraphs = [f"Paragraph {i} of the book.\nIts second line." for i in range(100)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs))
    found = split(PRETRAIN, path, rows="document", held_out="end")
    assert [len(rows) for rows in found.values()] == [1, 1, 1]
    texts = [rows[0]["text"] for rows in found.values()]
    assert "\n\n".join(texts) == path.read_text()
    assert [len(text.split("\n\n")) for text in texts] == [80, 10, 10]
    assert found["validation"][0]["where"] == f"{path}:{80 * 3 + 1}"
    with pytest.raises(UserError, match=r"1 row: too few.*data.held_out=end"):
        split(PRETRAIN, path, rows="document")


def test_a_single_row_of_a_jsonl_file_is_not_split(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"body": "A goat. " * 100}])
    with pytest.raises(UserError, match="1 row: too few"):
        split(PRETRAIN, path, rows="document", held_out="end", columns={"text": "body"})


@given(st.text(alphabet="ab .\n", max_size=300))
def test_a_document_is_split_without_loss(text):
    try:
        parts = cut_document(text, SHARES, "book.txt")
    except UserError:
        return
    assert [*parts] == ["test", "validation", "train"]
    (test, validation, train) = parts.values()
    assert (train[0], test[1]) == (0, len(text))
    assert train[1] == validation[0]
    assert validation[1] == test[0]


def test_a_text_without_paragraphs_is_split_at_a_sentence():
    text = "The ferry left at noon. " * 50
    test, validation, _ = cut_document(text, SHARES, "book.txt").values()
    assert text[slice(*test)].startswith("The ferry")
    assert text[slice(*validation)].startswith("The ferry")
