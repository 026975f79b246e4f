"""Work ahead of a consumer in another thread."""

import threading
from contextlib import closing
from itertools import count

import pytest

from llmkit.runtime.read_ahead import read_ahead


def test_all_items_come_in_order_and_no_more_than_asked_for_are_ahead():
    computed = []

    def items():
        for number in range(20):
            computed.append(number)
            yield number

    taken = []
    for number in read_ahead(items(), 2):
        taken.append(number)
        assert len(computed) <= len(taken) + 3  # two wait, and one is being handed over
    assert taken == list(range(20))


def test_an_error_comes_where_its_item_would():
    def items():
        yield 1
        raise KeyError("no second item")

    reader = read_ahead(items(), 5)
    assert next(reader) == 1
    with pytest.raises(KeyError, match="no second item"):
        next(reader)


def test_the_thread_ends_and_closes_its_items_when_the_reader_is_closed():
    is_closed = threading.Event()

    def endless():
        try:
            yield from count()
        finally:
            is_closed.set()

    with closing(read_ahead(read_ahead(endless(), 2), 2)) as reader:
        assert next(reader) == 0
    assert is_closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
