"""Work ahead of a consumer in another thread."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LOOKS = 0.1  # at whether the consumer has stopped
_END = object()


def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The items, of which a thread computes up to `depth` before they are asked for.

    An exception of `items` is raised where its item would be. The thread ends soon after the
    returned iterator is closed.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    is_closed = threading.Event()

    def put(item: Any, error: BaseException | None = None) -> bool:
        while not is_closed.is_set():
            try:
                ready.put((item, error), timeout=SECONDS_BETWEEN_LOOKS)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:  # raised again in the consumer's thread
            put(_END, error)
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=work, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        is_closed.set()
        thread.join()
