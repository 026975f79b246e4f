"""Processes that the fork server starts; see fork_server.py."""

import array
import json
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path


class ForkServer:
    """A client of the running server: starts processes with imported libraries."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """folder: Of the server's sockets. environment: Of the processes, unless they are given
        another."""
        self.folder = folder
        self.environment = environment

    def start(
        self,
        arguments: Sequence[object],
        *,
        cwd: Path,
        environment: dict[str, str] | None = None,
        program: str = "llmkit",
        imports: str = "all",
        fault: list | None = None,
        forks_ranks: bool = False,
        terminal: str | None = None,
    ) -> "ForkedProcess":
        """A process of `program`: the command line, the path of a script, or `-m MODULE`.

        environment: replaces the client's. fault: see faults.py. forks_ranks: the processes of
        --num-processes are forks, too, with the same fault. terminal: the device that the process
        reads from and writes to, as its controlling terminal.
        """
        job = {
            "program": program,
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "environment": self.environment if environment is None else environment,
            "fault": fault,
            "forks_ranks": forks_ranks,
            "terminal": terminal,
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(str(self.folder / imports))
            return ForkedProcess(channel, job)

    def start_ranks(
        self, count: int, arguments: Sequence[object], seconds_apart: float = 1.1, **options
    ) -> list["ForkedProcess"]:
        """Start connected processes as torchrun does, a second apart."""
        shared = {
            **self.environment, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_port()),
        }  # fmt: skip
        ranks = []
        for rank in range(count):
            if rank:
                time.sleep(seconds_apart)
            environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            ranks.append(self.start(arguments, environment=environment, **options))
        return ranks

    def start_machines(
        self,
        folders: Sequence[Path],
        arguments: Sequence[object],
        faults: Sequence[list | None] = (),
    ) -> list["ForkedProcess"]:
        """Start a process of llmkit on each of several machines, which have their own folders."""
        shared = {
            **self.environment, "WORLD_SIZE": str(len(folders)), "LOCAL_WORLD_SIZE": "1",
            "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_port()),
        }  # fmt: skip
        return [
            self.start(
                arguments,
                cwd=folder,
                environment={**shared, "RANK": str(rank), "LLMKIT_CACHE": str(folder / "cache")},
                fault=fault,
            )
            for rank, (folder, fault) in enumerate(zip_longest(folders, faults))
        ]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ForkedProcess:
    """A forked process with the interface of `subprocess.Popen`: `stdout` can be read line by line,
    `stderr` is available once the process has ended."""

    def __init__(self, channel: socket.socket, job: dict) -> None:
        read_status, write_status = os.pipe()
        read_output, write_output = os.pipe()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        send(channel, job, [write_output, self._errors.fileno(), write_status])
        os.close(write_status)
        os.close(write_output)
        self.stdout = open(read_output, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.returncode: int | None = None
        self._status = os.fdopen(read_status, "rb", buffering=0)
        pid = self._status.read(4)
        assert pid, "the fork server has ended"
        self.pid = int.from_bytes(pid, "big")

    @property
    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = int.from_bytes(self._status.read(4), "big", signed=True)
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            select.select([self._status], [], [])
        return self.poll()

    def communicate(self, timeout: float = 600.0) -> tuple[str, str]:
        """(stdout, stderr) after the exit; a process that hangs is killed, which fails its test."""
        killer = threading.Timer(timeout, self.kill)
        killer.start()
        try:
            output = self.stdout.read()
            self.wait()
        finally:
            killer.cancel()
        return output, self.stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def send(channel: socket.socket, job: dict, descriptors: list[int]) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    channel.sendmsg([json.dumps(job).encode()], [rights])
