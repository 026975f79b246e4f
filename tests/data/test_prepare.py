"""Preparing documents: the tokens, counts and held-out rows match those of `encode_rows`."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from megatron_reader import read_documents
from texts import blocks_of, open_texts, text_rows, write_texts

from llmkit.data import cache, preparation
from llmkit.data.blocks import split_into_blocks
from llmkit.data.encode import EncodingOptions, encode_rows, encode_text
from llmkit.data.findings import find_in_split
from llmkit.data.preparation import Preparation
from llmkit.data.prepare import prepare, shards_key, with_held_out
from llmkit.data.token_blocks import TokenBlocks
from llmkit.errors import UserError
from llmkit.tasks import is_blank

pytestmark = pytest.mark.usefixtures("small_parts", "own_cache")


@pytest.mark.parametrize("has_invalid", [False, True])
def test_blocks_and_report_equal_those_of_encoded_rows(path, tokenizer, has_invalid):
    if has_invalid:
        path.write_text("{broken\n" + path.read_text("utf-8") + "[]\n", "utf-8")
    splits = open_texts(path, skip_invalid=has_invalid)
    train = splits["train"]
    prepared, was_there = prepare(splits, tokenizer)
    assert not was_there
    assert len(prepared.shards) > 3
    read = train.read_all() if has_invalid else train
    options = EncodingOptions(max_length=32)
    _, report = encode_rows(read, train.task, tokenizer, options)
    assert prepared.report.outcomes == report.outcomes
    assert prepared.report.tokens == report.tokens
    assert find_in_split("train", prepared.report, None) == find_in_split("train", report, None)
    assert {"repeated", "end-of-text typed"} <= {
        finding.kind for finding in find_in_split("train", report, None)
    }
    eos = tokenizer.eos_token_id
    texts = [(row["where"], row["text"]) for row in train if not is_blank(row["text"])]
    ids = encode_text([text for _, text in texts], tokenizer)
    joined = ((where, [eos, *own, eos]) for (where, _), own in zip(texts, ids, strict=True))
    expected = [(where, block, block) for where, block in split_into_blocks(joined, 32)]
    assert blocks_of(TokenBlocks(prepared, 32)) == expected


def test_held_out_rows_equal_those_of_the_source(path, tokenizer):
    splits = open_texts(path, by=["topic"])
    prepared, _ = prepare(splits, tokenizer)
    read = with_held_out(splits, prepared)
    for split in ("validation", "test"):
        assert list(read[split]) == list(splits[split])
        assert read[split].held_out == splits[split].held_out
        assert read[split].source.name == str(path)
    assert [row["by"] for row in read["test"]]
    first = replace(read["test"], first=2)
    assert list(first) == list(splits["test"])[:2]


def test_splits_of_other_files_are_not_prepared(path, tokenizer, tmp_path):
    other = str(write_texts(tmp_path / "other.jsonl", 9))
    splits = open_texts(path, validation=other)
    prepared, _ = prepare(splits, tokenizer)
    assert list(prepared.held_out) == ["test"]
    assert with_held_out(splits, prepared)["validation"] is splits["validation"]
    with pytest.raises(UserError, match=r"no held-out validation .*name other rows in data\.valid"):
        open_texts(prepared.folder)
    again = open_texts(prepared.folder, validation=other)
    assert list(again["test"]) == list(with_held_out(splits, prepared)["test"])


def test_the_end_of_one_long_text_is_held_out(tmp_path, tokenizer):
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(row["text"] for row in text_rows(40)))
    splits = open_texts(path, held_out="end", rows="document")
    prepared, _ = prepare(splits, tokenizer)
    assert prepared.held_out == {}
    (row,) = splits["train"]
    (ids,) = encode_text([row["text"]], tokenizer)
    (document,) = [d for s in prepared.shards for d in read_documents(s.path)]
    assert document == [*ids, tokenizer.eos_token_id]


def test_nanogpt_and_megatron_can_read_the_shards(splits, tokenizer):
    prepared, _ = prepare(splits, tokenizer)
    for split, names in (
        ("train", [shard.path.name for shard in prepared.shards]),
        ("validation", ["validation"]),
        ("test", ["test"]),
    ):
        texts = [row["text"] for row in splits[split] if not is_blank(row["text"])]
        expected = [[*ids, tokenizer.eos_token_id] for ids in encode_text(texts, tokenizer)]
        documents = [d for name in names for d in read_documents(prepared.folder / name)]
        assert documents == expected
        flat = [np.fromfile(prepared.folder / f"{name}.bin", np.uint16) for name in names]
        assert np.concatenate(flat).tolist() == [token for ids in expected for token in ids]


def test_documents_are_tokenized_once(splits, tokenizer, monkeypatch):
    prepared, _ = prepare(splits, tokenizer)
    monkeypatch.setattr(preparation, "tokenize", None)
    again, was_there = prepare(splits, tokenizer)
    assert was_there
    assert again.manifest == prepared.manifest


def test_one_of_several_processes_prepares_while_the_others_wait(splits, tokenizer, monkeypatch):
    """The test uses threads, which the lock separates like processes."""
    is_preparing, is_waiting, calls = Event(), Event(), []
    write_parts = Preparation._write_parts

    def write_slowly(*arguments):
        calls.append(arguments)
        is_preparing.set()
        assert is_waiting.wait(60)
        return write_parts(*arguments)

    monkeypatch.setattr(Preparation, "_write_parts", write_slowly)
    monkeypatch.setattr(cache, "SECONDS_BEFORE_NOTICE", 0.0)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(prepare, splits, tokenizer)
        assert is_preparing.wait(60)
        second = pool.submit(prepare, splits, tokenizer, None, lambda text: is_waiting.set())
        results = [first.result(), second.result()]
    assert len(calls) == 1
    assert results[0][0].manifest == results[1][0].manifest


def test_everything_that_the_content_depends_on_changes_the_key(path, tokenizer):
    keys = {
        shards_key(open_texts(path, **data), tokenizer)
        for data in (
            {}, {"limit": 50}, {"by": ["topic"]}, {"validation_fraction": 0.3},
            {"skip_invalid": True}, {"columns": {"text": "id"}}, {"held_out": "end"},
        )
    }  # fmt: skip
    same = shards_key(open_texts(path, max_length=64), tokenizer)
    assert len(keys) == 7
    assert same in keys
