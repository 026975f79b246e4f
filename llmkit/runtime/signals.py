"""Stop requests (Ctrl-C, SIGTERM, SIGHUP) and save requests (SIGUSR1) of a run."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from llmkit.runtime.ranks import is_rank_zero, num_processes

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")
# Within this time, a signal is no second request: a launcher may pass on a signal that its
# processes have received from the terminal as well.
REPEAT_SECONDS = 2.0
# After which a process whose main thread is blocked in a collective exits without it.
UNRESPONSIVE_SECONDS = 5.0


class Stopped(BaseException):
    """Raised when the run was asked to stop. Like KeyboardInterrupt it is not an Exception, so that
    no `except Exception` catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.exit_code = 128 + number

    def __str__(self) -> str:
        return f"stopped by {self.name}"


class Signals:
    """Requests from outside. A second stop request ends the process immediately.

    Python runs signal handlers in the main thread, but not while that is blocked in a collective.
    With several processes, a second thread therefore receives the signals as well.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        """Number of the signal that asked to stop."""
        self.wants_save = False
        self.forward: Callable[[int], None] | None = None
        """Sends a stop request to the other processes."""
        self._is_deferred = False
        self._is_request = False  # whether the next stop signal comes from `request`
        self._stopped_at: float | None = None  # when the first stop signal from outside arrived
        self._wakeup_pipe: tuple[int, int] | None = None

    def __enter__(self) -> "Signals":
        names = (*STOPS, "SIGUSR1")  # Windows has two of these
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self._previous = {number: signal.signal(number, self._take) for number in numbers}
        if num_processes() > 1:
            reading, writing = self._wakeup_pipe = os.pipe()
            os.set_blocking(writing, False)
            self._previous_wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(reading,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._wakeup_pipe is not None:
            signal.set_wakeup_fd(self._previous_wakeup)
            os.close(self._wakeup_pipe[1])  # ends the thread
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def request(self, number: int) -> None:
        """Handle a stop request of another process of the run."""
        if self.stop is None:
            self._is_request = True
            os.kill(os.getpid(), number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """In this context, requests only set `stop` and `wants_save`, which the caller polls."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A section of a `deferred` context that a stop request may interrupt at any moment."""
        was_deferred, self._is_deferred = self._is_deferred, False
        try:
            self.raise_if_stopped()
            yield
        finally:
            self._is_deferred = was_deferred

    def raise_if_stopped(self) -> None:
        if self.stop is not None:
            raise Stopped(self.stop)

    def _take(self, number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name == "SIGUSR1":
            self.wants_save = True
            return
        if self.stop is not None:
            if self._wakeup_pipe is None:
                os._exit(128 + number)
            return  # `_receive_stop` decides
        self.stop = number
        if self.forward is not None:  # the thread may be too late if this process now ends
            self.forward(number)
        if not self._is_deferred:
            raise Stopped(number)

    def _listen(self, reading: int) -> None:
        stops = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
        with open(reading, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] in stops:
                    self._receive_stop(number[0])

    def _receive_stop(self, number: int) -> None:
        """Pass on the first stop signal; end this process on a second one, or if its main thread
        does not respond and has nothing to save."""
        if not self._is_deferred:
            threading.Timer(UNRESPONSIVE_SECONDS, self._end_if_unresponsive, [number]).start()
        if self._is_request:
            self._is_request = False
        elif self._stopped_at is None:
            self._stopped_at = time.monotonic()
            if self.forward is not None:
                self.forward(number)
        elif time.monotonic() - self._stopped_at > REPEAT_SECONDS:
            os._exit(128 + number)

    def _end_if_unresponsive(self, number: int) -> None:
        if self.stop is None:
            if is_rank_zero():
                os.write(2, f"llmkit: {Stopped(number)}\n".encode())
            os._exit(128 + number)


class Interrupts:
    """Ctrl-C in an interactive program, which alternates between reading input and working.

    While the program reads, Ctrl-C raises KeyboardInterrupt. While it works, the first Ctrl-C only
    sets `was_pressed`, which the program polls, and the second raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.was_pressed = False
        """Whether Ctrl-C was pressed since the last input."""
        self._is_reading = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Context of the program; outside of it, Ctrl-C is handled as before."""
        previous = signal.signal(signal.SIGINT, self._take)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Context in which the program reads input."""
        self._is_reading = True
        self.was_pressed = False
        yield
        # Not in `finally`: until the next input, a second Ctrl-C at the prompt raises as well.
        self._is_reading = False

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._is_reading or self.was_pressed:
            raise KeyboardInterrupt
        self.was_pressed = True
