"""Batches by length: each item once, similar lengths together, results in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.batching import batches_by_length, map_by_length

LENGTHS = st.lists(st.integers(0, 20), max_size=40)


@given(LENGTHS, st.integers(1, 8))
def test_batches_hold_every_item_once_and_the_longest_first(lengths, batch_size):
    batches = batches_by_length(lengths, batch_size)
    indices = [index for batch in batches for index in batch]
    assert sorted(indices) == list(range(len(lengths)))
    assert [lengths[index] for index in indices] == sorted(lengths, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(0 < len(batch) <= batch_size for batch in batches)


@given(LENGTHS, st.integers(1, 8))
def test_results_come_back_in_the_order_of_the_items(lengths, batch_size):
    results = map_by_length(lambda batch: [(i, lengths[i]) for i in batch], lengths, batch_size)
    assert results == list(enumerate(lengths))


def test_a_batch_without_a_result_for_each_item_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        map_by_length(lambda batch: batch[1:], [3, 1, 2], 2)
