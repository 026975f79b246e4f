"""The set of digests, compared with a Python set."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data import digest_set
from llmkit.data.digest_set import DigestSet

DIGESTS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), max_size=20)


@given(st.lists(DIGESTS, max_size=12), DIGESTS)
def test_older_digests_equal_those_of_a_python_set(batches, asked):
    digests, known = DigestSet(), set()
    for batch in batches:
        digests.add(np.array(batch, np.uint64))
        known |= set(batch)
    asked += sorted(known)[:3]
    found = digests.among_older(np.array(asked, np.uint64))
    assert found.tolist() == [digest in known for digest in asked]


@pytest.mark.parametrize("first", [1, 1000])
def test_many_additions_leave_few_arrays(first):
    digests, random = DigestSet(), np.random.default_rng(0)
    digests.add(random.integers(0, 2**63, first, np.uint64))
    for _ in range(1000):
        digests.add(random.integers(0, 2**63, 3, np.uint64))
    sizes = [len(array) for array in digests.arrays]
    assert sum(sizes) == first + 3000
    assert len(sizes) <= 12
    assert all(a > 2 * b for a, b in pairwise(sizes))


def test_the_newest_become_an_array_when_there_are_many(monkeypatch):
    monkeypatch.setattr(digest_set, "BUFFER", 3)
    digests = DigestSet()
    digests.newest |= {1, 2}
    digests.settle()
    assert digests.newest == {1, 2}
    digests.newest.add(2**64 - 1)
    digests.settle()
    assert not digests.newest
    asked = np.array([2**64 - 1, 2, 3], np.uint64)
    assert digests.among_older(asked).tolist() == [True, True, False]
