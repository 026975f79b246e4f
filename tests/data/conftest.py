"""The tokenizer of the tiny model, and texts to prepare."""

import os

import pytest


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    # pytest may read this file before it is configured, and so before the libraries are silenced.
    from llmkit.model.load import load_model

    return load_model(str(tiny_gpt2))[1]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The cache folder of a single test."""
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_parts(monkeypatch):
    """Parts and chunks of a few texts."""
    from llmkit.data import text_chunks

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # for a loss of power alone
    monkeypatch.setattr(text_chunks, "CHUNK_BYTES", 500)
    monkeypatch.setattr(text_chunks, "SHARD_BYTES", 1500)


@pytest.fixture
def path(tmp_path):
    from texts import write_texts

    return write_texts(tmp_path / "texts.jsonl")


@pytest.fixture
def splits(path):
    from texts import open_texts

    return open_texts(path)
