"""Cores that other programs need: fewer threads, and no spinning."""

import threading

import psutil
import pytest
import torch

from llmkit.runtime import cores
from llmkit.runtime.cores import (
    Usage,
    num_threads_under_load,
    reduce_threads,
    shorten_spinning,
    watch_cores,
)


@pytest.fixture
def used_by_others(monkeypatch):
    """Have other programs use so many cores between one look and the next."""

    def use(*shares):
        usages = [Usage(at=100.0, own=7.0, all=50.0)]
        for share in shares:
            last = usages[-1]
            usages.append(Usage(last.at + 1, last.own + 0.5, last.all + 0.5 + share))
        iterator = iter(usages)
        monkeypatch.setattr(Usage, "now", lambda: next(iterator))
        monkeypatch.setattr(cores.time, "sleep", lambda _: None)

    return use


@pytest.mark.parametrize(
    ("others", "num_threads", "expected"),
    [(0.0, 2, 2), (0.3, 2, 2), (0.8, 2, 1), (2.0, 2, 1), (1.1, 16, 15), (60.0, 64, 4), (9.0, 4, 1)],
)
def test_other_programs_leave_so_many_threads(others, num_threads, expected):
    assert num_threads_under_load(others, num_threads) == expected


def test_what_this_process_used_is_not_of_others():
    before, after = Usage(at=10.0, own=3.0, all=40.0), Usage(at=14.0, own=5.0, all=44.0)
    assert after.others_since(before) == 0.5
    assert Usage(at=14.0, own=8.0, all=44.0).others_since(before) == 0.0, "counts differ a little"


def test_the_systems_counters_go_up():
    before = Usage.now()
    sum(range(10**6))
    after = Usage.now()
    assert after.at > before.at
    assert after.own > before.own
    assert after.all >= before.all


def test_a_busy_core_takes_a_thread(two_threads, used_by_others):
    used_by_others(1.0, 0.9)
    assert reduce_threads(Usage.now()) == (
        "1 of 2, since other programs use 0.9 cores (OMP_NUM_THREADS=2 to use all)"
    )
    assert torch.get_num_threads() == 1


def test_an_idle_machine_keeps_all_threads(two_threads, used_by_others):
    used_by_others(0.1)
    assert reduce_threads(Usage.now()) is None
    assert torch.get_num_threads() == 2


def test_a_moments_work_of_others_takes_no_thread(two_threads, used_by_others):
    used_by_others(0.9, 0.1)
    assert reduce_threads(Usage.now()) is None
    assert torch.get_num_threads() == 2


def test_threads_that_the_user_has_set_stay(two_threads, used_by_others, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    used_by_others(2.0, 2.0)
    assert reduce_threads(Usage.now()) is None
    assert torch.get_num_threads() == 2


def test_spinning_is_short_while_others_need_the_cores(used_by_others, monkeypatch):
    shortened = []

    def shorten():
        shortened.append(threading.Event())
        return shortened[-1]

    states = []

    def sleep(_):
        states.append([not stop.is_set() for stop in shortened])

    used_by_others(0.1, 0.8, 0.9, 0.0, 1.5)
    monkeypatch.setattr(cores, "shorten_spinning", shorten)
    monkeypatch.setattr(cores.time, "sleep", sleep)
    with pytest.raises(StopIteration):
        watch_cores()
    assert states == [[], [], [True], [True], [False], [False, True]]


def test_spinning_is_shortened_by_a_second_pool_of_threads(two_threads):
    """libgomp counts its threads; as soon as they outnumber the cores, they spin for a moment."""
    torch.ones(2**20).add_(1)  # this thread's own pool is there before
    process = psutil.Process()
    before = process.num_threads()
    stop = shorten_spinning()
    (holder,) = (thread for thread in threading.enumerate() if thread.name == "short spinning")
    while process.num_threads() < before + 2:  # the holder and its pool's other thread
        assert holder.is_alive()
    stop.set()
    holder.join()
    while process.num_threads() > before:
        pass
