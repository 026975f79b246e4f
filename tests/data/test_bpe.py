"""The BPE of a model with random weights."""

import pytest
from rows import TEXT
from texts import open_texts, write_texts

from llmkit.data import bpe
from llmkit.data.bpe import bpe_of, first_bytes, train_bpe
from llmkit.errors import UserError


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    return open_texts(write_texts(tmp_path / "texts.jsonl"))["train"]


def test_a_bpe_is_trained_once(rows, monkeypatch):
    trained = []
    monkeypatch.setattr(
        bpe, "train_bpe", lambda texts, size: trained.append(size) or train_bpe(texts, size)
    )
    assert bpe_of(rows, 300) == bpe_of(rows, 300) == train_bpe(rows.texts(), 300)
    assert bpe_of(rows, 310) == train_bpe(rows.texts(), 310)
    assert trained == [300, 310]


def test_other_texts_give_another_bpe(rows, tmp_path):
    path = write_texts(tmp_path / "texts.jsonl", 20)
    other = bpe_of(open_texts(path)["train"], 300)
    assert other == train_bpe(open_texts(path)["train"].texts(), 300)
    assert len(list((tmp_path / "cache" / "tokenizers").iterdir())) == 1
    assert bpe_of(open_texts(write_texts(path))["train"], 300).merges != other.merges


@pytest.mark.parametrize("content", ["", "[]", '{"vocabulary": {}}'])
def test_a_damaged_bpe_is_reported(rows, tmp_path, content):
    bpe_of(rows, 300)
    (path,) = (tmp_path / "cache" / "tokenizers").iterdir()
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: this cached tokenizer is damaged; delete"):
        bpe_of(rows, 300)


def test_only_the_first_texts_of_a_large_corpus_are_used(monkeypatch):
    assert list(first_bytes(["ab", "ü", "c", "d"], 4)) == ["ab", "ü"]
    assert list(first_bytes(TEXT, 10**8)) == TEXT
    monkeypatch.setattr(bpe, "SAMPLE_BYTES", 200)
    assert train_bpe([*TEXT, "zzzzzzzz " * 99], 300) == train_bpe(TEXT[:3], 300)
