"""The meeting of the processes of a run, and what the first of them decides for all.

It needs no more than the launcher's environment variables, so it works before the devices are
chosen, and on machines that share no folder.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from pydantic import TypeAdapter

from llmkit.errors import UserError
from llmkit.runtime.ranks import is_rank_zero, num_processes, whole_number

if TYPE_CHECKING:
    from torch.distributed import Store

Value = TypeVar("Value")
MEETING_TIME = timedelta(minutes=30)  # machines may start late
# Another process may be encoding, saving or scoring. One that has died is noticed by its closed
# connection (see peers.py), so this is only for what nobody has thought of.
PROCESS_TIMEOUT = timedelta(days=7)
SECONDS_TO_HEAR = 30.0
FAILED = b""  # the decision of a first process that has none; no JSON
_numbers = count()


def from_first_process(make: Callable[[], Value], kind: Any = None) -> Value:
    """What `make` returns in the first process, in all processes; all of them call this.

    A UserError is raised in the first process alone, which prints it; the others exit with code 2.

    kind: Type of what `make` returns, which travels as JSON.
    """
    if num_processes() == 1:
        return make()
    store, key, adapter = meet(), f"decision {next(_numbers)}", TypeAdapter(kind)
    if not is_rank_zero():
        decision = store.get(key)
        store.add(f"{key} heard", 1)
        if decision == FAILED:
            raise SystemExit(2)
        return adapter.validate_json(decision)
    try:
        value = make()
    except UserError:
        store.set(key, FAILED)
        _wait_until_heard(store, f"{key} heard")
        raise
    store.set(key, adapter.dump_json(value))
    _wait_until_heard(store, f"{key} heard")
    return value


def _wait_until_heard(store: "Store", key: str) -> None:
    """Wait for the other processes, as the store may end with the first one."""
    deadline = time.monotonic() + SECONDS_TO_HEAR
    while store.add(key, 0) < num_processes() - 1 and time.monotonic() < deadline:
        time.sleep(0.05)


@cache
def meet() -> "Store":
    """The key-value store that connects all processes of the run; waits for them.

    Raises:
        UserError: If they have not met within MEETING_TIME.
    """
    from torch.distributed import DistNetworkError, DistStoreError, PrefixStore, rendezvous

    rank, size = whole_number("RANK"), num_processes()
    try:
        with _killed_by_signals():
            store, _, _ = next(rendezvous("env://", rank, size, timeout=MEETING_TIME))
            token = greet_first_process(store, rank) if rank else greet_others(store, size)
    except (DistNetworkError, DistStoreError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"MASTER_ADDR: the {size} processes of this run do not meet at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({reason}); start all of "
            "them, with the address of the first machine and a port that is free there"
        ) from None
    store.set_timeout(PROCESS_TIMEOUT)
    return PrefixStore(token, store)


def greet_others(store: "Store", size: int) -> str:
    """Wait for all other processes, and tell them a token that names this start of the run.

    torchrun keeps its store when it starts processes again, so what is in it may be of earlier
    ones: even a greeting counts only once its sender has taken the answer.
    """
    from torch.distributed import DistStoreError

    token, missing = uuid4().hex, set(range(1, size))
    deadline = time.monotonic() + MEETING_TIME.total_seconds()
    while missing:
        for rank in sorted(missing):
            if store.check([f"{token} heard by {rank}"]):
                missing.discard(rank)
            elif store.check([f"greeting of {rank}"]):
                store.set(store.get(f"greeting of {rank}").decode(), token)
        if time.monotonic() > deadline:
            raise DistStoreError(f"{len(missing)} have not come within {MEETING_TIME}")
        time.sleep(0.02)
    return token


def greet_first_process(store: "Store", rank: int) -> str:
    """The token of `greet_others`."""
    greeting = uuid4().hex
    store.set(f"greeting of {rank}", greeting)
    token = store.get(greeting).decode()
    store.set(f"{token} heard by {rank}", "")
    return token


@contextmanager
def _killed_by_signals() -> Iterator[None]:
    """While this process waits for the others, let signals end it immediately: Python's handlers
    would not run, and nothing is half done yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
