"""Mixed sets: shares of an epoch, and how often each row is used."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.batches import shuffled_indices
from llmkit.data.encode import FEATURES
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.mixed_rows import (
    MixedRows,
    distribute,
    drawn_sets,
    epoch_order,
    fill_with_passes,
)


class Blocks:
    """Rows of which only the lengths are needed."""

    def __init__(self, lengths):
        self.lengths = np.array(lengths)
        self.supervised = self.lengths - 1

    def __len__(self):
        return len(self.lengths)


def mixed(shares, **lengths) -> MixedRows:
    shares = {"train": 1 - sum(shares.values()), **shares}
    return MixedRows({name: Blocks(of_set) for name, of_set in lengths.items()}, shares)


def tokens_by_set(rows: MixedRows, order: np.ndarray) -> np.ndarray:
    set_of_row = np.searchsorted(rows.first_rows, order, "right") - 1
    return np.bincount(set_of_row, rows.lengths[order], len(rows.sets))


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize("shares", [{"a": 0.2, "b": 0.35}, {"a": 0.03, "b": 0.9}])
def test_each_set_has_its_share_of_the_tokens_of_an_epoch(shares, epoch):
    """The sets have 10, 1 and 3 thousand blocks; the last block of each is shorter."""
    rows = mixed(
        shares,
        train=[1024] * 9_999 + [7],
        a=[1024] * 999 + [700],
        b=[1024] * 2_999 + [2],
    )
    tokens = tokens_by_set(rows, rows.order(seed=5, epoch=epoch))
    for (_, share), of_set in zip(shares.items(), tokens[1:], strict=True):
        assert of_set / tokens.sum() == pytest.approx(share, rel=0.01)


def test_shares_are_of_tokens_even_if_one_set_has_shorter_rows():
    random = np.random.default_rng(0)
    rows = mixed(
        {"notes": 0.4}, train=random.integers(200, 512, 6000), notes=random.integers(5, 60, 9000)
    )
    tokens = tokens_by_set(rows, rows.order(seed=1, epoch=0))
    assert tokens[1] / tokens.sum() == pytest.approx(0.4, rel=0.01)
    assert [drawn.share for drawn in drawn_sets(rows)] == pytest.approx([0.6, 0.4], rel=0.01)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    weights=st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    seed=st.integers(0, 2**31 - 1),
    epochs=st.integers(1, 4),
)
def test_every_row_of_a_set_is_used_equally_often_up_to_one(sizes, weights, seed, epochs):
    names = ["train", "a", "b", "c"][: len(sizes)]
    total = sum(weights[: len(sizes)])
    shares = {name: weight / total for name, weight in zip(names, weights, strict=False)}
    rows = MixedRows({n: Blocks([9] * size) for n, size in zip(names, sizes, strict=True)}, shares)
    orders = [rows.order(seed, epoch) for epoch in range(epochs)]
    assert all(len(order) == len(rows) == sum(sizes) for order in orders)
    uses = np.bincount(np.concatenate(orders), minlength=len(rows))
    for first, after in pairwise(rows.first_rows):
        of_set = uses[first:after]
        assert of_set.max() - of_set.min() <= 1
    drawn = [tokens_by_set(rows, order).tolist() for order in orders]
    assert all(each == drawn[0] for each in drawn), "each epoch has the same shares"


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    rows = mixed({"a": 0.5}, train=[9] * 300, a=[9] * 100)
    again = mixed({"a": 0.5}, train=[9] * 300, a=[9] * 100)

    def order(seed, epoch, rows=rows):
        return epoch_order(rows, seed, epoch).tolist()

    assert order(3, 1) == order(3, 1, again)
    assert len({tuple(order(seed, epoch)) for seed in (3, 4) for epoch in (0, 1)}) == 4


def test_the_rows_of_an_epoch_are_shuffled_across_sets():
    rows = mixed({"a": 0.5}, train=[9] * 2000, a=[9] * 2000)
    is_of_a = rows.order(seed=0, epoch=0) >= 2000
    for part in np.split(is_of_a, 8):
        assert 0.4 < part.mean() < 0.6


def test_a_mix_of_one_set_has_the_order_of_the_set_itself():
    rows = Blocks([9] * 50)
    assert epoch_order(rows, 3, 2).tolist() == shuffled_indices(50, 3, 2).tolist()
    assert drawn_sets(rows) == []


@given(st.integers(1, 12), st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_consecutive_parts_add_up_to_complete_passes(num_rows, counts):
    ends = np.cumsum([0, *(count + 1 for count in counts)]).tolist()
    parts = [np.empty(end - start, np.int32) for start, end in pairwise(ends)]
    for part, start in zip(parts, ends, strict=False):
        fill_with_passes(part, num_rows, start, seed=1)
    drawn = np.concatenate(parts).tolist()
    for start in range(0, len(drawn), num_rows):
        whole = drawn[start : start + num_rows]
        assert max(Counter(whole).values()) == 1, "no row comes twice in a pass"


@given(st.integers(8, 10**7), st.lists(st.floats(0.001, 1), min_size=1, max_size=5))
def test_integers_add_up_and_are_close_to_the_weights(total, weights):
    counts = distribute(total, np.array(weights))
    assert sum(counts) == total
    assert min(counts) >= 1
    exact = np.array(weights) / sum(weights) * total
    assert np.abs(np.array(counts) - exact).max() <= len(weights)


def test_rows_are_read_from_the_set_that_they_belong_to():
    def encoded(name, *rows):
        return EncodedRows(
            Dataset.from_list(
                [
                    {"input_ids": ids, "labels": ids, "where": f"{name}:{i}"}
                    for i, ids in enumerate(rows)
                ],
                features=FEATURES,
            )
        )

    sets = {"train": encoded("t", [1, 2], [3]), "a": encoded("a", [4, 5, 6])}
    rows = MixedRows(sets, {"train": 0.5, "a": 0.5})
    assert [rows[index]["input_ids"].tolist() for index in range(3)] == [[1, 2], [3], [4, 5, 6]]
    assert [rows.where(index) for index in range(3)] == ["t:0", "t:1", "a:0"]
    assert rows.lengths.tolist() == [2, 1, 3]
    assert rows.supervised.tolist() == [1, 0, 2]
    swapped = MixedRows(dict(reversed(sets.items())), {"train": 0.5, "a": 0.5})
    assert rows.fingerprint() != swapped.fingerprint()
