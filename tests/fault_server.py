"""Runs of llmkit in forked processes, each with something that goes wrong at a chosen moment.

Libraries are imported once; a run then takes a second or two. Reads a job a line (JSON) from
stdin, answers with its exit status. Started by test_faults.py.

    {"recipe": FILE, "run": FOLDER, "resumes": false, "log": FILE, "fault": {...} or null}

Faults: {"kill_after": seconds}, whatever is going on; {"in_save": [number, seconds]}, so long after
the beginning of that save; {"at_call": number}, at that call to the file system of a save;
{"signal": number, "phase": name, "after": seconds}, in that phase of the run; {"file_size":
bytes}, beyond which no file grows.
"""

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from llmkit.console import library_imports

with library_imports():
    import torch
    from rich.console import Console

    from llmkit import checkpoint, finetune, prepare, resume, train
    from llmkit import model as model_file
from llmkit.errors import UserError
from llmkit.recipe import load_recipe
from llmkit.signals import Signals, Stopped

CALLS = ("open", "fsync", "rename", "mkdir", "rmdir", "unlink")
PHASES = {"tokenize": (prepare, "encode_cached"), "train": (train, "take_step"),
          "evaluate": (finetune, "evaluate"), "save": (finetune, "save_checkpoint")}  # fmt: skip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def later(seconds: float, act) -> None:
    """A thread of its own, so that it acts in the middle of whatever goes on."""
    threading.Timer(seconds, act).start()


def at_entry(place, name: str, act) -> None:
    """Have a function of llmkit's call `act` first."""
    function = getattr(place, name)

    def call(*arguments, **options):
        act()
        return function(*arguments, **options)

    setattr(place, name, call)


def arm(fault: dict) -> None:
    """Lay the fault into this process."""
    if "kill_after" in fault:
        later(fault["kill_after"], die)
    if "in_save" in fault:
        number, seconds = fault["in_save"]
        left = [number]

        def count() -> None:
            left[0] -= 1
            if left[0] == 0:
                later(seconds, die)

        for place in (checkpoint, model_file):
            at_entry(place, "publish", count)
    if "at_call" in fault:
        left = [fault["at_call"]]
        inside = []

        def one_less() -> None:
            if inside:
                left[0] -= 1
                if left[0] == 0:
                    die()

        for place in (checkpoint, model_file):
            at_entry(place, "publish", lambda: inside.append(True))
        for name in CALLS:
            at_entry(os, name, one_less)
    if "file_size" in fault:  # as a full disk: what is written beyond fails
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["file_size"],) * 2)
    if "signal" in fault:
        sent = []

        def send() -> None:
            if not sent:
                sent.append(True)
                later(fault["after"], lambda: os.kill(os.getpid(), fault["signal"]))

        at_entry(*PHASES[fault["phase"]], send)


def run(job: dict) -> int:
    """The exit status that the command would have."""
    recipe = load_recipe(job["recipe"])
    with open(job["log"], "a", encoding="utf-8") as output, Signals() as signals:
        console = Console(file=output, width=200)
        try:
            if job["fault"]:
                arm(job["fault"])
            finetune.finetune(recipe, Path(job["run"]), console, signals, job["resumes"])
        except Stopped as stop:
            print(stop, file=output)
            return stop.exit_code
        except UserError as error:
            print(error, file=output)
            return 2
        except OSError as error:
            print(error, file=output)
            return 1
    return 0


def serve() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 99
            try:
                random.seed()
                code = run(job)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        answer = {"code": code, "seconds": time.monotonic() - started}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    assert resume  # imported before any fork
    serve()
