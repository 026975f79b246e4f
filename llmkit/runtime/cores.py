"""Adapting the number of threads to the load of other programs."""

import os
import threading
import time
from dataclasses import dataclass
from functools import cache

import psutil
import torch

MIN_MEASURED_SECONDS = 0.3  # the system counts CPU time in hundredths of a second
CONFIRMATION_SECONDS = 1.0  # of a second measurement, during which this process is idle
WATCH_SECONDS = 0.5  # between two measurements of what other programs use
MAX_CORES_WHEN_SPINNING = 0.5  # that other programs may use while idle threads spin


@dataclass(frozen=True)
class Usage:
    """CPU time, in seconds since boot, on the cores that this process may use."""

    at: float
    """Time of the measurement, on a monotonic clock."""
    own: float
    """CPU time of this process and of its children that have ended."""
    all: float
    """CPU time of all processes."""

    @classmethod
    def now(cls) -> "Usage":
        process = os.times()
        times = psutil.cpu_times(percpu=True)
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(times))
        busy = (times[core].user + times[core].system + times[core].nice for core in cores)
        return cls(time.monotonic(), sum(process[:4]), sum(busy))

    def others_since(self, before: "Usage") -> float:
        """Number of cores that other programs used on average since an earlier measurement."""
        seconds = self.at - before.at
        return max(0.0, (self.all - before.all - (self.own - before.own)) / seconds)


def num_threads_under_load(others: float, num_threads: int) -> int:
    """Number of threads to use while other programs use `others` of `num_threads` cores.

    Every parallel region waits for its slowest thread, so a thread that shares its core delays all
    others: if one of two cores is busy, two threads are slower than one.
    """
    return max(1, num_threads - round(others))


def reduce_threads(before: Usage) -> str | None:
    """Use fewer threads if other programs have been using cores since `before` and still do.

    A second measurement ensures that a short job of another program does not slow down a whole run.
    A number of threads set by the user is not changed. Returns a message for the user, or None if
    nothing has changed.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    time.sleep(max(0.0, before.at + MIN_MEASURED_SECONDS - time.monotonic()))
    now = Usage.now()
    others = now.others_since(before)
    if num_threads_under_load(others, num_threads) < num_threads:
        time.sleep(CONFIRMATION_SECONDS)
        others = min(others, Usage.now().others_since(now))
    torch.set_num_threads(num_threads_under_load(others, num_threads))
    if torch.get_num_threads() == num_threads:
        return None
    return (
        f"{torch.get_num_threads()} of {num_threads}, since other programs use {others:.1f} cores "
        f"(OMP_NUM_THREADS={num_threads} to use all)"
    )


@cache  # one watcher per process
def yield_cores() -> None:
    """Start a thread that lets OpenMP's idle threads sleep while other programs need their cores.

    Idle threads spin for milliseconds after each parallel region, which is fastest on an idle
    machine. On a busy one they take time from the very thread that they wait for, and training can
    become 30 times slower.
    """
    if torch.get_num_threads() > 1 and "OMP_WAIT_POLICY" not in os.environ:
        threading.Thread(target=watch_cores, name="watch cores", daemon=True).start()


def watch_cores() -> None:
    """Shorten the spinning of idle threads whenever other programs use the cores."""
    before, stop = Usage.now(), None
    while True:
        time.sleep(WATCH_SECONDS)
        now = Usage.now()
        is_needed = now.others_since(before) > MAX_CORES_WHEN_SPINNING
        before = now
        if is_needed and stop is None:
            stop = shorten_spinning()
        elif not is_needed and stop is not None:
            stop.set()
            stop = None


def shorten_spinning() -> threading.Event:
    """Have libgomp's idle threads spin for only a microsecond, until the returned event is set.

    libgomp does so by itself while it has more threads than cores (gomp_throttled_spin_count_var in
    its env.c and wait.h). A second pool, which libgomp creates for the first parallel region of
    another thread and keeps while that thread lives, makes it so. Other OpenMP libraries are not
    affected.
    """
    stop = threading.Event()

    def hold_a_pool() -> None:
        torch.ones(2**20).add_(1)
        stop.wait()

    threading.Thread(target=hold_a_pool, name="short spinning", daemon=True).start()
    return stop
