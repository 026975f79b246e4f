"""A pseudo-terminal for a program: its keyboard input and its screen output."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

import psutil

MODES = re.compile(r"\x1b\[\?\d+[hl]")
HANGS = 300  # seconds without the expected text after which a program is taken to hang


class Terminal:
    """A terminal for a process that is started with its name, `terminal=terminal.name`."""

    def __init__(self, columns: int = 60, rows: int = 24) -> None:
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.name = os.ttyname(self._theirs)
        self.screen = ""
        """Everything received so far."""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def type_at_prompt(self, pid: int, text: str) -> None:
        """Type a text, and wait until the process waits for the next key: Python would notice a
        signal that arrives before only at the next key."""
        self.type(text)
        self.wait_for(text)
        while psutil.Process(pid).status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)

    def interrupt_prompt(self, pid: int, text: str) -> None:
        """Type a text at the prompt of a process, then Ctrl-C."""
        self.type_at_prompt(pid, text)
        self.type("\x03")

    def wait_for(self, expected: str) -> str:
        """Wait for a text, and return the new output up to its end, without the sequences with
        which readline switches the terminal's modes."""
        started, received = time.monotonic(), ""
        while expected not in (shown := MODES.sub("", received)):
            if not select.select([self._ours], [], [], HANGS)[0]:
                raise AssertionError(f"no {expected!r} after {received!r}")
            received += self.read_character()
            assert time.monotonic() - started < HANGS, f"no {expected!r} after {received!r}"
        return shown

    def read_character(self) -> str:
        """The next character, of up to four bytes; waits for it."""
        content = os.read(self._ours, 1)
        while len(content) < 4:
            try:
                text = content.decode()
                break
            except UnicodeDecodeError:
                content += os.read(self._ours, 1)
        self.screen += text
        return text

    @property
    def settings(self) -> list:
        """The modes of the terminal, such as whether it echoes."""
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        os.close(self._ours)
        os.close(self._theirs)
