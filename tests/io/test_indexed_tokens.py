"""Token ids in the format of Megatron-LM's indexed datasets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron_reader import read_documents

from llmkit.io.atomic import CorruptFolder
from llmkit.io.indexed_tokens import index_of, read_lengths, token_type


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shard")


@given(
    vocab_size=st.sampled_from([2, 50_257, 2**16, 2**16 + 1, 128_256]),
    lengths=st.lists(st.integers(1, 9), max_size=8),
    data=st.data(),
)
@settings(max_examples=50)
def test_an_independent_reader_finds_each_document(folder, vocab_size, lengths, data):
    ids = st.integers(0, vocab_size - 1)
    documents = [data.draw(st.lists(ids, min_size=n, max_size=n)) for n in lengths]
    dtype = token_type(vocab_size)
    assert dtype.itemsize == (2 if vocab_size <= 2**16 else 4)
    flat = [token for document in documents for token in document]
    (folder / "train.bin").write_bytes(np.array(flat, dtype).tobytes())
    (folder / "train.idx").write_bytes(index_of(np.array(lengths, int), dtype))
    assert read_documents(folder / "train") == documents
    assert np.fromfile(folder / "train.bin", dtype).tolist() == flat, "as nanoGPT reads it"
    assert read_lengths(folder / "train.idx").tolist() == lengths


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda index: b"", "train.idx is too short"),
        (lambda index: b"TNTIDX\0\0\0" + index[9:], "is not an index of token ids"),
        (lambda index: index[:9] + b"\2" + index[10:], "is not an index of token ids"),
        (lambda index: index[:17] + b"\7" + index[18:], "is not an index of token ids"),
        (lambda index: index[:-1], "has the wrong size for 2 documents"),
    ],
)
def test_a_damaged_index_is_rejected(tmp_path, change, reason):
    path = tmp_path / "train.idx"
    path.write_bytes(change(index_of(np.array([3, 4]), token_type(300))))
    with pytest.raises(CorruptFolder, match=reason):
        read_lengths(path)
