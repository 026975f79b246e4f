"""Batches: the order of rows, their dealing out, padding and packing."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.batches import (
    UNLIMITED,
    MicroBatchLimit,
    collate,
    pack_rows,
    padded_size,
    shuffled_indices,
    split_into_micro_batches,
)


def test_row_order_is_a_pure_function_of_seed_and_epoch():
    def order(seed, epoch):
        return shuffled_indices(50, seed, epoch).tolist()

    assert order(seed=3, epoch=1) == order(seed=3, epoch=1)
    assert order(seed=3, epoch=1) != order(seed=3, epoch=2)
    assert order(seed=3, epoch=1) != order(seed=4, epoch=1)
    assert sorted(order(seed=3, epoch=1)) == list(range(50))


@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=40),
    rows=st.none() | st.integers(1, 9),
    tokens=st.none() | st.integers(1, 300),
    capacity=st.sampled_from([None, 100, UNLIMITED]),
    num_processes=st.integers(1, 4),
)
def test_micro_batches_cover_each_row_of_a_step_once(
    lengths, rows, tokens, capacity, num_processes
):
    indices = list(range(len(lengths)))
    limit = MicroBatchLimit(rows, tokens)
    dealt = split_into_micro_batches(indices, lengths, limit, num_processes, capacity)
    assert len(dealt) == num_processes
    flat = [i for micro_batches in dealt for batch in micro_batches for i in batch]
    assert Counter(flat) == Counter(indices)
    for batch in [batch for micro_batches in dealt for batch in micro_batches if len(batch) > 1]:
        sizes = [lengths[index] for index in batch]
        assert rows is None or len(batch) <= rows
        assert tokens is None or padded_size(sizes, capacity) <= tokens
    assert all(dealt), "each process has a micro-batch, maybe an empty one"
    tokens = [sum(lengths[i] for batch in each for i in batch) for each in dealt]
    assert max(tokens) - min(tokens) <= max(lengths)


@pytest.mark.parametrize("num_processes", range(2, 9))
@pytest.mark.parametrize("rows_per_process", [8, 32])
def test_processes_get_about_the_same_number_of_tokens(num_processes, rows_per_process):
    """Ragged rows, lognormal as documents are: the mean of the tokens over their maximum."""
    rng = np.random.default_rng(num_processes)
    balances = []
    for _ in range(20):
        lengths = rng.lognormal(5.3, 0.6, num_processes * rows_per_process).clip(8, 1024)
        lengths = lengths.astype(int).tolist()
        rows, limit = list(range(len(lengths))), MicroBatchLimit(rows=8)
        dealt = split_into_micro_batches(rows, lengths, limit, num_processes, UNLIMITED)
        tokens = [sum(lengths[i] for batch in each for i in batch) for each in dealt]
        balances.append(np.mean(tokens) / max(tokens))
    assert np.mean(balances) >= 0.975
    assert min(balances) >= 0.95


def test_a_single_process_orders_rows_by_length():
    lengths = [5, 9, 7, 9, 1]
    for limit in (MicroBatchLimit(rows=2), MicroBatchLimit(tokens=18)):
        split = split_into_micro_batches([0, 1, 2, 3, 4], lengths, limit, 1, None)
        assert split == [[[1, 3], [2, 0], [4]]] if limit.rows else [[[1, 3], [2, 0, 4]]]


def test_collate_pads_on_the_right_without_labels():
    batch = collate(
        [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    )
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert (batch.used.tolist(), batch.targets.tolist()) == ([0, 1], [6, 7])
    assert batch.supervised_rows.tolist() == [0, 0]
    assert batch.position_ids is None
    assert batch.row_ids is None


def test_collate_packs_rows_and_marks_which_is_which():
    rows = [{"input_ids": list(range(n)), "labels": list(range(n))} for n in (3, 4, 2)]
    batch = collate(rows, capacity=6)
    assert batch.lengths == [4, 3, 2]
    assert batch.input_ids.tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 0, 1]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 0, 1]]
    assert batch.row_ids.tolist() == [[1, 1, 1, 1, -1], [0, 0, 0, 2, 2]]
    assert batch.used.tolist() == [0, 1, 2, 5, 6, 8], "no row's first token is predicted"
    assert batch.targets.tolist() == [1, 2, 3, 1, 2, 1]
    assert batch.supervised_rows.tolist() == [1, 1, 1, 0, 0, 2]


def test_row_starts_mark_the_rows_of_one_sequence():
    rows = [{"input_ids": [7] * n, "labels": [7] * n} for n in (3, 4, 2)]
    batch = collate(rows, UNLIMITED)
    assert batch.lengths == [4, 3, 2]
    assert batch.row_starts.tolist() == [0, 4, 7, 9]


def test_a_batch_without_rows_has_no_supervised_token():
    batch = collate([], UNLIMITED)
    assert (batch.lengths, batch.targets.tolist()) == ([2], [])


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60), spare=st.integers(0, 60))
def test_packing_never_splits_a_row_or_exceeds_the_capacity(lengths, spare):
    capacity = max(lengths) + spare
    sequences = pack_rows(lengths, capacity)
    assert sorted(row for sequence in sequences for row in sequence) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in sequence) <= capacity for sequence in sequences)
    assert len(sequences) <= 1 + 2 * sum(lengths) // capacity, "at most one is less than half full"
    rows = [{"input_ids": [1] * n, "labels": [1] * n} for n in lengths]
    for limit in (None, capacity):
        assert padded_size(lengths, limit) == collate(rows, limit).input_ids.numel()
    assert padded_size([100] * 8, 512) == 800, "even sequences have no padding"
