"""Faults at a chosen moment of a run, in a process that fork_server.py has forked.

A fault is the name of a function in FAULTS with its arguments. Its process finds the folder of the
run in $FAULT_RUN and records the time of the fault in the file $FAULT_MOMENT.
"""

import errno
import io
import os
import random
import resource
import shutil
import signal
import stat
import threading
import time
from itertools import count
from pathlib import Path

from llmkit.runtime.console import library_imports

with library_imports():
    import safetensors.torch
    import torch

    from llmkit.evaluation.evaluator import Evaluator
    from llmkit.io.row_writer import RowWriter
    from llmkit.model.loss import SupervisedLoss
    from llmkit.reports import html
    from llmkit.runs import folder
    from llmkit.training import log, saver
    from llmkit.training.trainer import Trainer
    from llmkit.workflows import encode_train, score_run
PLACES = {
    "tokenize": (encode_train, "encode_cached"), "train": (Trainer, "train_step"),
    "evaluate": (Evaluator, "evaluate"), "save": (saver, "save_checkpoint"),
    "prune": (saver, "prune"), "keep": (saver, "save_model"), "log": (log.RunLog, "_write"),
    "tables": (score_run, "write_results"), "report": (html, "write_report"),
}  # fmt: skip
system_open = os.open  # calls of this are not counted
RUN = os.environ.get("FAULT_RUN", "")
SAVING = ("save", "prune", "keep")
WRITING = {"checkpoint": ("save",), "export": ("keep", "tables", "report"), "log": ("log",)}
CALLS = (
    (os, "open"), (os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir"), (os, "rmdir"),
    (os, "unlink"), (io, "open"),
)  # fmt: skip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def later(seconds: float, act) -> None:
    """Act in a separate thread, in the middle of whatever the process is doing."""
    threading.Timer(seconds, act).start()


def around(place: tuple, before=None, after=None) -> None:
    """Wrap a function of llmkit or of the system so that it also calls `before` and `after`."""
    function = getattr(*place)

    def call(*arguments, **options):
        if before:
            before(*arguments)
        try:
            return function(*arguments, **options)
        finally:
            if after:
                after(*arguments)

    setattr(*place, call)


class At:
    """Calls `act` at the n-th call."""

    def __init__(self, number: int, act) -> None:
        self.left, self.act = number, act

    def __call__(self, *arguments) -> None:
        self.left -= 1
        if self.left == 0:
            self.act(*arguments)


def kill_in_save(number: int, seconds: float) -> None:
    """Die this many seconds after the start of a save, unless it has returned. SIGALRM interrupts
    everything, including a library that is writing a file."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    begin = At(number, lambda *_: signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6)))
    for name in SAVING:
        around(PLACES[name], begin, lambda *_: signal.setitimer(signal.ITIMER_REAL, 0))


def kill_in_row(number: int, share: float) -> None:
    """SIGKILL at the n-th row that `generate` writes, when a share of its bytes is in the file."""
    text_of, numbers = RowWriter._text, count(1)

    def text(writer, row):
        text = text_of(writer, row)
        if next(numbers) == number:
            content = text.encode()
            writer._file.write(content[: int(share * len(content))])
            die()
        return text

    RowWriter._text = text


def kill_at_call(number: int) -> None:
    """SIGKILL at the n-th file-system call of a save; a file of weights is left half written."""
    at_call(At(number, die))


def at_call(count) -> None:
    """Call `count` before each file-system call of a save."""
    saving = []
    for name in SAVING:
        around(PLACES[name], lambda *_: saving.append(True), lambda *_: saving.pop())

    def count_if_saving(*_) -> None:
        if saving:
            count()

    for place in CALLS:
        around(place, count_if_saving)

    whole = safetensors.torch.serialize_file

    def write(tensors, path, *more, **options):
        """Write a file, counting the call when half of it is written."""
        whole(tensors, path, *more, **options)
        content = Path(path).read_bytes()
        os.truncate(path, len(content) // 2)
        count_if_saving()
        Path(path).write_bytes(content)

    safetensors.torch.serialize_file = write


def lose_power(number: int, seed: int) -> None:
    """Lose unsynced data and die at the n-th file-system call of a save.

    seed 0: all unsynced data is lost; else each name and each content is lost or kept at random.
    """
    root = Path(RUN).parent
    disk = Disk(root)
    around((os, "fsync"), None, disk.synced)
    saved = []  # steps whose save has returned
    around(PLACES["prune"], lambda run, path, *_: saved.append(path.name))

    def act() -> None:
        after = root.with_name(f"{root.name}.after")
        disk.write_down(after, random.Random(seed) if seed else None)
        (after / "saved").write_text(saved[-1] if saved else "")
        die()

    at_call(At(number, act))


class Disk:
    """Names in folders and contents of files as of their last fsync, by inode, since a rename
    changes neither."""

    def __init__(self, root: Path) -> None:
        self.held, self.names, self.contents = {}, {}, {}
        self.root = root
        for path in [root, *root.rglob("*")]:
            descriptor = system_open(path, os.O_RDONLY)
            self.synced(descriptor)
            os.close(descriptor)

    def synced(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.hold(status.st_ino, os.dup(descriptor))
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(descriptor) as entries:
                self.names[status.st_ino] = {entry.name: entry.inode() for entry in entries}
            for name, number in self.names[status.st_ino].items():
                self.hold(number, system_open(name, os.O_RDONLY, dir_fd=descriptor))
        else:
            self.contents[status.st_ino] = os.pread(descriptor, status.st_size, 0)

    def hold(self, number: int, descriptor: int) -> None:
        """Keep a file open, so that its inode number is not reused."""
        if number in self.held:
            os.close(descriptor)
        else:
            self.held[number] = descriptor

    def write_down(self, folder: Path, chance: random.Random | None) -> None:
        """Write the folder as it would be found after the loss of power."""
        now = {path.stat().st_ino: path for path in [self.root, *self.root.rglob("*")]}

        def restore(number: int, place: Path) -> None:
            kept = chance is not None and chance.random() < 0.5 and number in now
            if stat.S_ISDIR(os.fstat(self.held[number]).st_mode):
                place.mkdir()
                names = self.names.get(number, {})
                if kept:
                    names = {path.name: path.stat().st_ino for path in now[number].iterdir()}
                    for path in now[number].iterdir():
                        self.hold(path.stat().st_ino, system_open(path, os.O_RDONLY))
                for name, inside in names.items():
                    restore(inside, place / name)
            elif kept:
                place.write_bytes(now[number].read_bytes())
            else:
                place.write_bytes(self.contents.get(number, b""))

        restore(self.root.stat().st_ino, folder)


def fill_disk(what: str, number: int, num_bytes: int) -> None:
    """Limit the file size while the n-th checkpoint, export or log line is written; for the log,
    limit its growth."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def begin(*_) -> None:
        limit(num_bytes + (folder.log_path(Path(RUN)).stat().st_size if what == "log" else 0))

    count = At(number, begin)
    for name in WRITING[what]:
        around(PLACES[name], count, lambda *_: limit(resource.RLIM_INFINITY))


def send_signal(number: int, phase: str, seconds: float) -> None:
    """Send a signal this many seconds after the start of the first such phase."""

    def send() -> None:
        Path(os.environ["FAULT_MOMENT"]).write_text(str(time.monotonic()))
        os.kill(os.getpid(), number)

    around(PLACES[phase], At(1, lambda *_: later(seconds, send)))


def signal_at_step(count: int, number: int) -> None:
    """Send a signal after the n-th step of the process."""
    around(PLACES["train"], after=At(count, lambda *_: os.kill(os.getpid(), number)))


def break_loss(number: int, kind: str, rank: int | None = None) -> None:
    """Make the loss of a step NaN, or let micro-batches of more than one row run out of memory, in
    all processes or in one of them."""
    forward = SupervisedLoss.forward

    def broken(self, batch):
        loss = forward(self, batch)
        is_here = rank in (None, int(os.environ.get("RANK", "0")))
        is_due = is_here and training and training[-1].progress.step + 1 == number
        if is_due and kind == "nan":
            return loss * float("nan")
        if is_due and len(batch.lengths) > 1:
            raise torch.OutOfMemoryError("for 1 GiB")
        return loss

    training = []
    around(
        PLACES["train"], lambda trainer, *_: training.append(trainer), lambda *_: training.clear()
    )
    SupervisedLoss.forward = broken


def remove_run(number: int) -> None:
    """Delete the run folder at a step."""
    around(PLACES["train"], At(number, lambda *_: shutil.rmtree(RUN)))


def make_read_only(number: int) -> None:
    """Make all writes fail from a step on, as on a read-only file system."""

    def refuse(path, *_) -> None:
        if str(path).startswith(RUN):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def refuse_to_write(path, mode="r", *_) -> None:
        if set(mode) & set("wax+"):
            refuse(path)

    def turn(*_) -> None:
        around((io, "open"), refuse_to_write)
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            around((os, name), refuse)

    around(PLACES["train"], At(number, turn))


def shift_clock(seed: int, seconds: float | None = None) -> None:
    """Shift every reading of the clocks by up to some days and, after this many seconds, die by
    SIGKILL."""
    generator, now = random.Random(seed), time.time
    time.time = time.monotonic = lambda: now() + generator.uniform(-1e6, 1e6)
    around(PLACES["save"], None, lambda *_: shuffle_times(generator))
    if seconds is not None:
        later(seconds, die)


def shuffle_times(generator: random.Random) -> None:
    for path in Path(RUN).rglob("*"):
        os.utime(path, (generator.uniform(0, 2e9),) * 2)


FAULTS = {
    function.__name__: function
    for function in (
        kill_in_save, kill_in_row, kill_at_call, lose_power, fill_disk, send_signal, signal_at_step,
        break_loss,
        remove_run, make_read_only, shift_clock,
    )
}  # fmt: skip
