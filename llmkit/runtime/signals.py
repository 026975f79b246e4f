"""Stop requests (Ctrl-C, SIGTERM, SIGHUP) and save requests (SIGUSR1) of a run."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Raised when the run was asked to stop. Not an Exception, like KeyboardInterrupt, so that no
    `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.exit_code = 128 + number

    def __str__(self) -> str:
        return f"stopped by {self.name}"


class Signals:
    """Requests from outside. A second stop request ends the process immediately."""

    def __init__(self) -> None:
        self.stop: int | None = None
        """Number of the signal that asked to stop."""
        self.wants_save = False
        self._is_deferred = False

    def __enter__(self) -> "Signals":
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # Windows has two of these
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self._previous = {number: signal.signal(number, self._take) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

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
        """A part of a `deferred` context that a stop request may interrupt at any moment."""
        self._is_deferred = False
        try:
            self.raise_if_stopped()
            yield
        finally:
            self._is_deferred = True

    def raise_if_stopped(self) -> None:
        if self.stop is not None:
            raise Stopped(self.stop)

    def _take(self, number: int, _: FrameType | None) -> None:
        if signal.Signals(number).name == "SIGUSR1":
            self.wants_save = True
            return
        if self.stop is not None:
            os._exit(128 + number)
        self.stop = number
        if not self._is_deferred:
            raise Stopped(number)


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
