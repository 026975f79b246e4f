"""Training blocks of plain language modelling, as views of memory-mapped token shards."""

import os
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import blocks_of, write_shards

from llmkit.data.blocks import split_into_blocks
from llmkit.data.token_blocks import TokenBlocks

TEXTS = st.lists(st.integers(1, 299), max_size=9)


def named(parts: list[list[list[int]]]) -> list[list[tuple[str, list[int]]]]:
    lines = iter(range(1, 1000))
    return [[(f"corpus.jsonl:{next(lines)}", ids) for ids in part] for part in parts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # for a loss of power alone
        yield tmp_path_factory.mktemp("shards")


@given(
    parts=st.lists(st.lists(TEXTS, max_size=6), min_size=1, max_size=4),
    max_length=st.integers(2, 12),
    vocab_size=st.sampled_from([300, 70_000]),
)
@settings(max_examples=60)
def test_blocks_equal_those_of_the_joined_documents(folder, parts, max_length, vocab_size):
    parts = named(parts)
    blocks = TokenBlocks(write_shards(folder, parts, vocab_size), max_length)
    texts = ((where, [0, *ids, 0]) for where, ids in chain.from_iterable(parts) if ids)
    expected = [(where, ids, ids) for where, ids in split_into_blocks(texts, max_length)]
    assert blocks_of(blocks) == expected
    assert blocks.lengths.tolist() == [len(ids) for _, ids, _ in expected]
    assert blocks.supervised.tolist() == [len(ids) - 1 for _, ids, _ in expected]


def test_a_block_within_a_shard_is_a_view_of_the_file(folder):
    blocks = TokenBlocks(write_shards(folder, named([[[1, 2, 3, 4, 5, 6, 7, 8, 9]]])), 4)
    ids = blocks[1]["input_ids"]
    assert ids.base is not None
    assert not ids.flags.writeable
    with pytest.raises(IndexError):
        blocks[len(blocks)]


def test_the_fingerprint_depends_on_tokens_and_block_length(folder, tmp_path):
    def fingerprint(texts, max_length=4):
        return TokenBlocks(write_shards(folder, named([texts])), max_length).fingerprint()

    same = {fingerprint([[1, 2], [3]]), fingerprint([[1, 2], [3]])}
    others = {fingerprint([[1, 2], [4]]), fingerprint([[1], [2, 3]]), fingerprint([[1, 2], [3]], 5)}
    assert len(same) == 1
    assert len(same | others) == 4


def test_lengths_take_four_bytes_per_block(folder):
    blocks = TokenBlocks(write_shards(folder, named([[[1] * 9]])), 3)
    assert blocks.lengths.dtype == np.int32
