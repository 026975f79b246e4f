"""Chunks of rows, whose boundaries depend only on the rows."""

import pytest
from texts import open_texts, text_rows, write_texts

from llmkit.data import text_chunks
from llmkit.data.text_chunks import Document, read_chunks, read_documents
from llmkit.errors import UserError


@pytest.fixture
def path(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(text_chunks, "CHUNK_BYTES", 300)
    monkeypatch.setattr(text_chunks, "SHARD_BYTES", 1000)


def test_chunks_contain_all_rows_and_part_boundaries_do_not_depend_on_the_start(path):
    splits = open_texts(path, by=["topic"])
    chunks = list(read_chunks(splits, 0))
    documents = [document for chunk in chunks for document in chunk.documents]
    assert [document.text for document in documents] == [row["text"] for row in text_rows(60)]
    assert [document.where for document in documents] == [f"{path}:{i + 1}" for i in range(60)]
    assert {document.split for document in documents} == {"train", "validation", "test"}
    assert {d.split for d in documents if d.by} == {"test"}
    starts = [chunk.end for chunk in chunks if chunk.ends_part]
    assert len(starts) > 3
    for start in starts:
        rest = [chunk for chunk in chunks if chunk.end > start]
        assert list(read_chunks(splits, start)) == rest


def test_a_part_ends_after_a_maximum_number_of_rows(path, monkeypatch):
    monkeypatch.setattr(text_chunks, "SHARD_ROWS", 7)
    ends = [chunk.end for chunk in read_chunks(open_texts(path), 0) if chunk.ends_part]
    assert len(ends) >= 60 // 7


def test_bytes_are_counted_in_utf_8():
    assert Document("train", "a:1", "Größe").num_bytes == 7


def test_an_unreadable_row_is_an_error_unless_it_is_skipped(path):
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match=r"texts.jsonl:61: .*data.skip_invalid=true"):
        list(read_documents(open_texts(path), 0))
    documents = list(read_documents(open_texts(path, skip_invalid=True), 0))
    assert (documents[-1].split, documents[-1].where) == ("train", f"{path}:61")
    assert "broken JSON" in str(documents[-1].error)
