"""Processor cores that other programs need, and how this one leaves them alone."""

import os
import threading
import time
from dataclasses import dataclass
from functools import cache

import psutil
import torch

SHORTEST = 0.3  # seconds over which a share of a core is measured; the system counts hundredths
CONFIRMED = 1.0  # seconds of a second look, while this process does nothing
PERIOD = 0.5  # seconds between two looks at what others use
NEEDED = 0.5  # cores that others use, from which on idle threads must not spin


@dataclass(frozen=True)
class Usage:
    """Seconds that this process's cores have worked since the machine started."""

    at: float
    """When, on a clock of seconds."""
    own: float
    """For this process and those of its children that have ended."""
    all: float
    """For any process."""

    @classmethod
    def now(cls) -> "Usage":
        process = os.times()
        times = psutil.cpu_times(percpu=True)
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(times))
        busy = (times[core].user + times[core].system + times[core].nice for core in cores)
        return cls(time.monotonic(), sum(process[:4]), sum(busy))

    def others_since(self, before: "Usage") -> float:
        """Cores that other programs used, on average, between two looks."""
        seconds = self.at - before.at
        return max(0.0, (self.all - before.all - (self.own - before.own)) / seconds)


def threads_beside(others: float, num_threads: int) -> int:
    """Threads that can run at once beside programs that use `others` cores of num_threads.

    Every parallel region waits for its slowest thread, so a thread that shares its core holds up
    all others: on two cores, one of them busy, two threads are slower than one.
    """
    return max(1, num_threads - round(others))


def leave_cores(before: Usage) -> str | None:
    """Use fewer threads from here on where other programs have needed cores since `before`, and
    still do: a moment's work of theirs must not slow down a whole run.

    Returns what to tell the user. A number of threads that the user has set stays.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    time.sleep(max(0.0, before.at + SHORTEST - time.monotonic()))
    now = Usage.now()
    others = now.others_since(before)
    if threads_beside(others, num_threads) < num_threads:
        time.sleep(CONFIRMED)
        others = min(others, Usage.now().others_since(now))
    torch.set_num_threads(threads_beside(others, num_threads))
    if torch.get_num_threads() == num_threads:
        return None
    return (
        f"{torch.get_num_threads()} of {num_threads}, since other programs use {others:.1f} cores "
        f"(OMP_NUM_THREADS={num_threads} to use all)"
    )


@cache  # once in a process
def yield_cores() -> None:
    """From here on, have OpenMP's idle threads sleep at once whenever others need their cores.

    They spin for milliseconds behind each parallel region, which is fastest on an idle machine.
    Beside another program the spinning takes time from the very thread that they wait for, and
    training may become thirty times slower.
    """
    if torch.get_num_threads() > 1 and "OMP_WAIT_POLICY" not in os.environ:
        threading.Thread(target=watch_cores, name="watch cores", daemon=True).start()


def watch_cores() -> None:
    """Shorten the spinning while other programs use the cores."""
    before, stop = Usage.now(), None
    while True:
        time.sleep(PERIOD)
        now = Usage.now()
        is_needed = now.others_since(before) > NEEDED
        before = now
        if is_needed and stop is None:
            stop = shorten_spinning()
        elif not is_needed and stop is not None:
            stop.set()
            stop = None


def shorten_spinning() -> threading.Event:
    """Have libgomp's idle threads spin for a microsecond only, until the event is set.

    That is what libgomp does by itself while there are more of its threads than cores
    (gomp_throttled_spin_count_var in its env.c and wait.h). The pool of threads that another
    thread gets for its first parallel region, and keeps for as long as it lives, is such an excess.
    Other OpenMP libraries are left as they are.
    """
    stop = threading.Event()

    def keep_a_pool() -> None:
        torch.ones(2**20).add_(1)
        stop.wait()

    threading.Thread(target=keep_a_pool, name="short spinning", daemon=True).start()
    return stop
