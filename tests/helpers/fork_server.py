"""Start processes whose libraries are already imported, by forking a process that imported them.

Importing torch, transformers and datasets takes several seconds of CPU time; a fork takes a few
milliseconds. A forked process behaves like one that was started separately: it has its own pid,
environment, working folder, standard streams and exit code, and it can be signalled or killed.

    end = start_server(folder, environment)
    process = ForkServer(folder, environment).start(["finetune", "summarize"], cwd=run)
    assert process.wait() == 0
    end()

`ForkServer` is in forked_process.py. All test processes share one server. Run as a script, this
file is the server: at the first request it imports torch and the other libraries that read no
settings from the environment. The first request for `imports="all"` starts a second server with the
rest; `imports="torch"` is for processes whose Hugging Face settings differ.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

TORCH = (
    "torch", "torch._dynamo", "torch.distributed.tensor", "torch.export", "pandas",
    "pyarrow.parquet", "pyarrow.dataset", "scipy.optimize", "scipy.stats", "sklearn.metrics",
    "nltk", "rich.console", "rich.progress", "pydantic", "yaml", "multiprocess", "dill",
    "sacrebleu", "rouge_score.rouge_scorer",
)  # fmt: skip
METRICS = ("bleu", "chrf", "classification", "final_answer", "likelihood", "rouge", "squad", "ter")
ALL = ("peft", "llmkit.workflows.finetune", "llmkit.workflows.evaluate",
       "llmkit.workflows.compare", "llmkit.workflows.generate", "llmkit.workflows.chat",
       "llmkit.reports.check", "llmkit.reports.html", "llmkit.runtime.launch",
       *(f"llmkit.metrics.{name}" for name in METRICS))  # fmt: skip


SERVERS = ("torch", "all")  # by what they have imported; each has a socket of that name


def start_server(folder: Path, environment: dict[str, str]) -> Callable[[], None]:
    """Start a server that listens at sockets in a folder; returns the function that ends it.

    It imports nothing until the first request. If this process is killed, it ends as well.
    """
    sockets = []
    for name in SERVERS:
        sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sockets[-1].bind(str(folder / name))
    reading, writing = os.pipe()  # the server ends when the other end is closed
    descriptors = [reading, *(each.fileno() for each in sockets)]
    server = subprocess.Popen(
        [sys.executable, __file__, *map(str, descriptors)], env=environment,
        pass_fds=descriptors, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(reading)
    for each in sockets:
        each.close()

    def end() -> None:
        os.close(writing)
        server.wait()  # the CPU time of its children then counts as that of this process

    return end


def receive(channel: socket.socket) -> tuple[dict, list[int]]:
    """A job with its descriptors."""
    content, descriptors, _, _ = socket.recv_fds(channel, 2**20, 3)
    return json.loads(content), descriptors


def import_llmkit() -> None:
    from llmkit.runtime.console import library_imports

    gc.disable()  # until `serve`: imports leave little garbage
    with library_imports():
        for name in ALL:
            importlib.import_module(name)
    load_a_model()


def load_a_model() -> None:
    """Load a model once: the loading tables of transformers take a fifth of a short run."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with tempfile.TemporaryDirectory() as folder:
        size = {"n_layer": 1, "n_head": 1, "n_embd": 2, "n_positions": 2, "vocab_size": 2}
        GPT2LMHeadModel(GPT2Config(**size)).save_pretrained(folder)
        GPT2LMHeadModel.from_pretrained(folder)


def serve(lifeline: int, channel: socket.socket, for_all: socket.socket | None = None) -> None:
    """Fork a process for each job until the lifeline is closed.

    for_all: Of the second server, which is started when a job arrives there.
    """
    importlib.import_module("torch").set_num_threads(1)  # threads would not survive a fork
    gc.collect()
    gc.freeze()
    gc.enable()
    while True:
        reading, _, _ = select.select([lifeline, channel, *filter(None, [for_all])], [], [])
        if channel in reading:
            job, descriptors = receive(channel)
            if os.fork() == 0:
                keep(job, *descriptors)
                os._exit(0)
            for descriptor in descriptors:
                os.close(descriptor)
        elif for_all in reading:
            if os.fork() == 0:
                import_llmkit()
                serve(lifeline, for_all)
                os._exit(0)
            for_all.close()
            for_all = None
        else:
            break
        reap()
    while reap(wait=True):
        pass


def reap(wait: bool = False) -> bool:
    try:
        return os.waitpid(-1, 0 if wait else os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def keep(job: dict, output: int, errors: int, status: int) -> None:
    """Fork the process of a job; write its pid, and at the end its exit code, to `status`."""
    child = os.fork()
    if child == 0:
        os.close(status)
        become(job, output, errors)
    os.close(output)
    os.close(errors)
    os.write(status, child.to_bytes(4, "big"))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(status, code.to_bytes(4, "big", signed=True))


class Rank:
    """A fork of this process instead of `subprocess.Popen([python, "-m", "llmkit", ...])`."""

    def __init__(self, command, *, env, stdin, stdout, stderr, start_new_session) -> None:
        assert command[1:3] == ["-m", "llmkit"]
        assert stdin == subprocess.PIPE
        assert start_new_session
        reading, self._stdin = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            os.close(reading)
            return
        os.setsid()
        os.close(self._stdin)
        os.dup2(reading, 0)
        null = os.open(os.devnull, os.O_WRONLY)
        output, errors = (
            number if file is None else null if file == subprocess.DEVNULL else file.fileno()
            for number, file in ((1, stdout), (2, stderr))
        )
        job = {"program": "llmkit", "arguments": command[3:], "cwd": ".", "environment": env}
        become(job | {"fault": None, "forks_ranks": False}, output, errors)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int:
        if self.poll() is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def become(job: dict, output: int, errors: int) -> None:
    """Run the program of a job in this process, which ends with it."""
    code = 1
    try:
        if job.get("terminal"):
            os.setsid()  # the first terminal that it opens becomes its controlling terminal
            output = errors = os.open(job["terminal"], os.O_RDWR)
            os.dup2(output, 0)
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["environment"])
        tempfile.tempdir = None  # chosen anew, by TMPDIR
        encoding = os.environ.get("PYTHONIOENCODING") or "utf-8"
        sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, encoding, "backslashreplace", closefd=False)  # noqa: SIM115
        sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run(job)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def run(job: dict) -> int:
    program, arguments = job["program"], job["arguments"]
    if job["fault"]:
        import faults

        name, *values = job["fault"]
        faults.FAULTS[name](*values)
    if job["forks_ranks"]:
        from llmkit.runtime import launch

        launch.subprocess = SimpleNamespace(
            Popen=Rank, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL
        )
    sys.argv = [program.removeprefix("-m "), *arguments]
    if program == "llmkit":
        from llmkit.cli import main

        main(arguments)
    elif program.startswith("-m "):
        runpy.run_module(program.removeprefix("-m "), run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")
    return 0


if __name__ == "__main__":
    lifeline, *channels = map(int, sys.argv[1:])
    if lifeline in select.select([lifeline, *channels], [], [])[0]:
        sys.exit()
    gc.disable()
    for library in TORCH:
        importlib.import_module(library)
    serve(lifeline, *(socket.socket(fileno=channel) for channel in channels))
