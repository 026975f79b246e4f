"""Rendezvous of the processes of a run, and decisions that the first process makes for all.

Needs only the launcher's environment variables, so it works before devices are chosen and on
machines that share no folder.
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
# Another process may be encoding, saving or scoring for hours. A process that has died is detected
# by its closed connection (see peers.py), so this timeout is only a last resort.
PROCESS_TIMEOUT = timedelta(days=7)
ACKNOWLEDGEMENT_SECONDS = 30.0
FAILED = b""  # instead of a decision, if the first process could not make it; not valid JSON
_numbers = count()


def from_first_process(make: Callable[[], Value], kind: Any = None) -> Value:
    """Call `make` in the first process and return its result in all of them.

    Every process has to call this. A UserError is raised only in the first process, which prints
    it; the others exit with code 2.

    kind: Type of the result, which is sent as JSON.
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
        _wait_for_acknowledgements(store, f"{key} heard")
        raise
    store.set(key, adapter.dump_json(value))
    _wait_for_acknowledgements(store, f"{key} heard")
    return value


def _wait_for_acknowledgements(store: "Store", key: str) -> None:
    """Wait until all others have read a decision, since the store may end with this process."""
    deadline = time.monotonic() + ACKNOWLEDGEMENT_SECONDS
    while store.add(key, 0) < num_processes() - 1 and time.monotonic() < deadline:
        time.sleep(0.05)


@cache
def meet() -> "Store":
    """Wait for all processes of the run; returns the key-value store that connects them.

    Raises:
        UserError: If they have not all connected within MEETING_TIME.
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
            f"MASTER_ADDR: the {size} processes of this run cannot connect at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({reason}); start all of "
            "them, with the address of the first machine and a free port there"
        ) from None
    store.set_timeout(PROCESS_TIMEOUT)
    return PrefixStore(token, store)


def greet_others(store: "Store", size: int) -> str:
    """Wait for all other processes, and send them a token that identifies this start of the run.

    torchrun keeps its store when it restarts processes, so entries may come from earlier ones: even
    a greeting counts only once its sender has acknowledged the answer.
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
            raise DistStoreError(f"{len(missing)} missing after {MEETING_TIME}")
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
    """Let signals end this process immediately while it waits for the others: Python's handlers
    would not run, and no work is in progress yet."""
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
