"""Start a run: claim and lock its folder, and write its recipe and its record."""

import platform
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llmkit import __version__
from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError
from llmkit.io.atomic import make_folder, sync, write_text
from llmkit.io.safe_json import write_json
from llmkit.io.small_json import UnreadableJson, read_json
from llmkit.runs.folder import checkpoints, lock_path, recipe_path, record_path, results_path
from llmkit.runs.record import RunRecord

LIBRARIES = (
    "torch", "transformers", "tokenizers", "datasets", "accelerate", "peft",
    "sacrebleu", "rouge-score",
)  # fmt: skip


def claim_run_dir(run: Path) -> Path:
    """Make the folder of a new run under its default name, or under NAME-2, NAME-3 and so on if
    another run has taken it in the same second."""
    names = (run.name if number == 1 else f"{run.name}-{number}" for number in count(1))
    try:
        make_folder(run.parent)
        while True:
            path = run.with_name(next(names))
            with suppress(FileExistsError):
                path.mkdir()
                sync(path.parent)
                return path
    except OSError as error:
        raise cannot_write(run, error) from None


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Keep other processes from training in the run's folder, which is made if it is missing.

    The system releases the lock of a process that has ended.

    Raises:
        UserError: If another process holds the lock, or the folder cannot be made.
    """
    lock = FileLock(lock_path(run), timeout=0)
    try:
        make_folder(run)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{run}: another process is training in this folder; wait until it ends, or stop it"
        ) from None
    except OSError as error:
        raise cannot_write(run, error) from None
    except NotImplementedError:  # a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


def require_unused(run: Path) -> None:
    """Raise UserError if another process has trained in the folder since it was chosen."""
    if checkpoints(run) or results_path(run).is_file():
        option = shlex.join(["--resume", str(run)])
        raise UserError(
            f"{run}: another process trained here in the meantime; resume its run with {option}"
        )


def start_run(run: Path, recipe: dict[str, Any], record: RunRecord, given: dict[str, Any]) -> None:
    """Write recipe.yaml and run.json.

    Args:
        recipe: The recipe as plain data, with the values that the run has decided.
        record: What else the run is made of.
        given: What the recipe said for the keys that the run has decided.
    """
    try:
        write_text(recipe_path(run), to_yaml(recipe))
        libraries = {"llmkit": __version__, **{name: version(name) for name in LIBRARIES}}
        content = {
            "started": started(run),
            "python": platform.python_version(),
            "libraries": libraries,
            **asdict(record),
            "given": given,
        }
        write_json(record_path(run), content)
    except OSError as error:
        raise cannot_write(run, error) from None


def started(run: Path) -> str:
    """The time at which the run was started, as ISO 8601 in UTC; now for a new run."""
    try:
        return read_json(record_path(run))["started"]
    except (UnreadableJson, KeyError):
        return datetime.now(timezone.utc).isoformat(timespec="seconds")


def is_training(run: Path) -> bool:
    """Whether a process holds the run's lock."""
    if not lock_path(run).is_file():
        return False
    try:
        with FileLock(lock_path(run), timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # read-only, or a file system without locks
        return False


def cannot_write(run: Path, error: OSError) -> UserError:
    return UserError(f"{run}: cannot write there ({error.strerror}); give another --run-dir")
