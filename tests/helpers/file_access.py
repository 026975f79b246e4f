"""Watches which files and processes this process touches."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Audit events of Python, or their prefixes. They cover all threads.
EVENTS = (
    "open", "os.", "shutil.", "tempfile.", "glob.", "pathlib.", "subprocess.", "pty.", "mmap.",
    "sqlite3.", "fcntl.", "ctypes.dlopen",
)  # fmt: skip
PROCESS = Path("/proc/self")  # Linux
HAS_COUNTS = (PROCESS / "io").is_file()
PROCESSORS = Path("/sys/devices/system/cpu/online")

_accesses: list[str] | None = None
_has_hook = False  # hooks cannot be removed
_num_own_bytes = 0  # read by `_num_bytes` itself


@contextmanager
def file_accesses() -> Iterator[list[str]]:
    """A list of the accesses within the block to files, folders and other processes.

    Accesses by Python code are added at once. At the end, the bytes that native code has read and
    written are added, where the operating system counts them; it counts no sockets.
    """
    global _accesses, _has_hook
    if not _has_hook:
        sys.addaudithook(_watch)
        _has_hook = True
    accesses: list[str] = []
    num_before = _num_bytes()
    _accesses = accesses
    try:
        yield accesses
    finally:
        _accesses = None
    num_bytes = _num_bytes() - num_before
    # The C library reads PROCESSORS once, when the process has many threads.
    if num_bytes and not (PROCESSORS.is_file() and num_bytes == len(PROCESSORS.read_bytes())):
        accesses.append(f"{num_bytes:,} bytes read or written")


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _accesses is not None and event.startswith(EVENTS):
        _accesses.append(f"{event} {arguments!r}"[:300])


def _num_bytes() -> int:
    """The bytes read and written so far, without those of threads that Python's `threading` does
    not know: pytest-xdist's thread reads messages at any time."""
    if not HAS_COUNTS:
        return 0
    while True:
        num_before = _num_bytes_of_unknown_threads()
        num_own = _num_own_bytes
        num_bytes = _count(PROCESS / "io") - num_own
        if num_before == _num_bytes_of_unknown_threads():  # no message came meanwhile
            return num_bytes - num_before


def _num_bytes_of_unknown_threads() -> int:
    known = {str(thread.native_id) for thread in threading.enumerate()}
    num_bytes = 0
    for task in set(os.listdir(PROCESS / "task")) - known:
        with suppress(OSError):  # the thread has ended
            num_bytes += _count(PROCESS / "task" / task / "io")
    return num_bytes


def _count(path: Path) -> int:
    global _num_own_bytes
    text = path.read_text()
    _num_own_bytes += len(text)
    counts = dict(line.split(": ") for line in text.splitlines())
    return int(counts["rchar"]) + int(counts["wchar"])
