"""Several processes on one machine: each runs the same command and finds the others by rank."""

import os
import socket
import subprocess
import sys
import time

GRACE = 5.0  # seconds that the others get to end by themselves once one has failed


def launch(arguments: list[str], num_processes: int) -> int:
    """Run `llmkit arguments` in `num_processes` processes; returns its exit code.

    The first process speaks for all. When one fails, the others, which wait for it, are ended.
    """
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "llmkit", *arguments],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=None if rank == 0 else subprocess.DEVNULL,
        )
        for rank in range(num_processes)
    ]
    try:
        return _wait(processes)
    finally:
        for process in processes:
            process.kill()


def _wait(processes: list[subprocess.Popen]) -> int:
    """The first exit code that is not 0, or 0 when all have ended well."""
    deadline = None
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if None not in codes:
            return codes[0] or (failed[0] if failed else 0)
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE
        if deadline and time.monotonic() > deadline:
            return failed[0]
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
