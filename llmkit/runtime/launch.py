"""Launching several processes of the same command on one machine (--num-processes)."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from llmkit.paths import PACKAGE

LAUNCHED = "LLMKIT_LAUNCHED"
GRACE_SECONDS = 5.0  # in which processes may exit by themselves after one of them has failed


def launch(arguments: list[str], num_processes: int) -> int:
    """Run `llmkit arguments` in `num_processes` processes; returns the exit code.

    Only the first process prints. If it exits without an error message of its own, the last line
    that another process wrote to stderr is printed. When one process fails, the others, which would
    wait for it, are killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    environment = {
        "OMP_NUM_THREADS": str(max(1, (cores or 1) // num_processes)),
        **child_environment(),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        LAUNCHED: "1",
    }
    processes: list[subprocess.Popen] = []
    stop_signals: list[int] = []

    def forward(number: int, _: object) -> None:
        """Pass a signal on. The first stop signal lets the processes finish their step and save;
        the second kills them."""
        if number != signal.SIGUSR1:
            stop_signals.append(number)
        for process in processes:
            process.send_signal(number if len(stop_signals) < 2 else signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, forward)
    with tempfile.TemporaryFile() as errors:
        try:
            for rank in range(num_processes):
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "llmkit", *arguments],
                        env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                        stdin=subprocess.PIPE,  # closes when this process ends
                        stdout=None if rank == 0 else subprocess.DEVNULL,
                        stderr=None if rank == 0 else errors,
                        start_new_session=True,  # Ctrl-C reaches them only through `forward`
                    )
                )
            code = _wait(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        code = 128 + stop_signals[0] if stop_signals and code else abs(code)
        if code and processes[0].returncode in (0, -signal.SIGKILL):  # without a message
            print(
                _last_line(errors) or f"llmkit: a process exited with code {code}", file=sys.stderr
            )
    return code


def child_environment() -> dict[str, str]:
    """The environment for `python -m llmkit...`: that of this process, with its copy of llmkit, and
    without the imports of the current folder, where a file of the user may be called datasets.py.

    Python 3.10 imports from the current folder anyway.
    """
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def end_with_launcher() -> bool:
    """In a process started by `launch`, stop as on SIGTERM once the launcher has exited.

    Returns whether this process was started by `launch`.
    """
    if os.environ.pop(LAUNCHED, None) is None:
        return False

    def wait() -> None:
        os.read(0, 1)  # nothing is written into the pipe; returns when it is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
    return True


def _wait(processes: list[subprocess.Popen]) -> int:
    """Wait for all processes; returns the first nonzero exit code, or 0 if all succeeded."""
    deadline = None
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if None not in codes:
            return codes[0] or (failed[0] if failed else 0)
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE_SECONDS
        if deadline and time.monotonic() > deadline:
            return failed[0]
        time.sleep(0.1)


def _last_line(errors) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def free_port() -> int:
    """A free local port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
