"""The run folder: what is in it, and how to find one. Nothing else knows these paths.

.lock              held by the process that trains here
recipe.yaml        the recipe as run: no value is left to be decided, every path is absolute
run.json           versions, seed, device, fingerprints of data and model; under `given`, what the
                   recipe said for keys that the run has decided
trackers.json      the id of the run at Weights & Biases
metrics.jsonl      a line per logged step and per validation
checkpoints/       what a stopped run goes on from
model/             the best weights: a plain Hugging Face folder
predictions.jsonl  id, prompt, prediction, references of each test row
metrics.json       final scores beside the baselines; there once the run has finished
sets/              the same two of each further test set
report.html        all of it as one page
"""

import os
import platform
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llmkit import __version__
from llmkit.config.decided import DECIDED_KEYS, Value, with_values
from llmkit.config.recipe import (
    load_recipe,
    recipe_keys,
    recipe_yaml,
    to_override,
    with_absolute_paths,
)
from llmkit.config.schema import Recipe
from llmkit.errors import UserError
from llmkit.io.atomic import make_folder, sync, write_text
from llmkit.io.safe_json import write_json
from llmkit.io.small_json import UnreadableJson, read_json
from llmkit.paths import RUNS, check_writable, expand
from llmkit.runs.record import RunRecord

LIBRARIES = (
    "torch", "transformers", "tokenizers", "datasets", "accelerate", "peft",
    "sacrebleu", "rouge-score",
)  # fmt: skip


def choose_run_dir(run_dir: str | None, recipe_name: str, *, starts_over: bool = False) -> Path:
    """The folder for a new run. Raises UserError when it already holds something.

    starts_over: that may be a run without a checkpoint, of which nothing is to be had.
    """
    if run_dir is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        path = RUNS / f"{Path(recipe_name).stem}-{stamp}"
        check_writable(path, "--run-dir")
        return path
    path = expand(run_dir)
    if is_run(path):
        if starts_over and not checkpoints(path) and not results_path(path).is_file():
            return path
        raise UserError(f"{path}: already holds a run; give another --run-dir, or delete it")
    left_by_a_start = {lock_path(path).name, f"{recipe_path(path).name}.partial"}
    if path.is_file() or (path.is_dir() and {p.name for p in path.iterdir()} - left_by_a_start):
        raise UserError(f"{path}: not an empty folder; give another --run-dir")
    check_writable(path, "--run-dir")
    return path


def claim_run_dir(run: Path) -> Path:
    """Make the folder of a new run, under its default name or, where another run has taken it in
    the same second, under NAME-2, NAME-3 and so on."""
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


def find_run_to_resume(resume: str, run_dir: str | None, keys: dict[str, Any]) -> Path | None:
    """The run that --resume names; for `auto`, the one at --run-dir, else the newest stopped run
    of the recipe under runs/, or None if there is none.

    keys: Those of the recipe, as `recipe_keys` returns them.
    """
    if resume == "auto":
        if run_dir is None:
            return newest_stopped_run(keys)
        run = expand(run_dir)
        return run if is_run(run) and checkpoints(run) else None
    run = expand(resume)
    if run_dir is not None:
        raise UserError(f"--run-dir: --resume goes on in {run} itself; give only one of them")
    if not is_run(run):
        raise UserError(f"--resume: {run} is not a run; name a folder that `llmkit finetune` made")
    return run


def resume_hint(run: Path, options: Iterable[str], has_launcher: bool = False) -> str:
    """The end of a message: how to resume a run.

    options: those of the command besides --resume. has_launcher: whether another program, such as
    torchrun, started the processes.
    """
    if results_path(run).is_file():
        return f"; it has finished: llmkit report {shlex.quote(str(run))}"
    if not checkpoints(run):
        return "; no checkpoint was saved yet: run the command again with --resume auto"
    command = ["llmkit", "finetune", str(recipe_path(run)), "--resume", str(run), *options]
    how = " under the same launcher" if has_launcher else ""
    return f"; resume{how} with: {shlex.join(command)}"


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """In here no other process trains in the run's folder, which is made if need be. The system
    takes the lock from a process that is gone.

    Raises UserError where another one holds it, or the folder cannot be made.
    """
    lock = FileLock(lock_path(run), timeout=0)
    try:
        make_folder(run)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{run}: another process trains in this folder; wait for its end, or stop it"
        ) from None
    except OSError as error:
        raise cannot_write(run, error) from None
    except NotImplementedError:  # a file system without locks: nobody can be kept out
        pass
    try:
        yield
    finally:
        lock.release()


def require_unused(run: Path) -> None:
    """Raise UserError where another process has trained in the folder since it was chosen."""
    if checkpoints(run) or results_path(run).is_file():
        option = shlex.join(["--resume", str(run)])
        raise UserError(
            f"{run}: another process trained here meanwhile; resume its run with {option}"
        )


def start_run(run: Path, recipe: Recipe, record: RunRecord, decided: dict[str, Value]) -> None:
    """Write recipe.yaml, with the decided values, and run.json, with those that were given.

    decided: Values of the keys that the recipe leaves to the run.
    """
    given = recipe_keys(recipe)
    recipe = with_values(with_absolute_paths(recipe), decided)
    try:
        write_text(recipe_path(run), recipe_yaml(recipe))
        libraries = {"llmkit": __version__, **{name: version(name) for name in LIBRARIES}}
        content = {
            "started": started(run),
            "python": platform.python_version(),
            "libraries": libraries,
            **asdict(record),
            "given": {key: given[key] for key in decided},
        }
        write_json(record_path(run), content)
    except OSError as error:
        raise cannot_write(run, error) from None


def started(run: Path) -> str:
    """When training began there, as ISO 8601 in UTC: now, unless the run is being resumed."""
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


def is_run(path: Path) -> bool:
    return recipe_path(path).is_file()


def recipe_path(run: Path) -> Path:
    return run / "recipe.yaml"


def lock_path(run: Path) -> Path:
    return run / ".lock"


def record_path(run: Path) -> Path:
    return run / "run.json"


def trackers_path(run: Path) -> Path:
    return run / "trackers.json"


def report_path(run: Path) -> Path:
    return run / "report.html"


def set_dir(folder: Path, name: str) -> Path:
    """Scores and predictions of one of several test sets."""
    return folder / "sets" / name.replace(" ", "-")


def set_dirs(folder: Path) -> list[Path]:
    """The folders of all further test sets, by name."""
    return sorted(path for path in (folder / "sets").glob("*") if path.is_dir())


def model_dir(run: Path) -> Path:
    return run / "model"


def checkpoints_dir(run: Path) -> Path:
    return run / "checkpoints"


def checkpoint_dir(run: Path, step: int) -> Path:
    return checkpoints_dir(run) / f"step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """The newest first; one whose replacement was cut short is there once `recover` was called."""
    names = "step-" + 8 * "[0-9]"
    found = [*checkpoints_dir(run).glob(names), *checkpoints_dir(run).glob(f"{names}.replaced")]
    return sorted({path.with_suffix("") for path in found}, reverse=True)


def log_path(run: Path) -> Path:
    return run / "metrics.jsonl"


def predictions_path(folder: Path) -> Path:
    """In a run, or in a folder of scores alone."""
    return folder / "predictions.jsonl"


def results_path(folder: Path) -> Path:
    """In a run, or in a folder of scores alone."""
    return folder / "metrics.json"


def newest_stopped_run(keys: dict[str, Any]) -> Path | None:
    """The run of this very recipe, under runs/, that was started last and has not finished.

    keys: Those of the recipe, as `recipe_keys` returns them.
    """
    runs = [run for run in RUNS.glob("*") if is_run(run) and checkpoints(run)]
    stopped = [run for run in runs if not results_path(run).is_file() and has_recipe(run, keys)]
    return max(stopped, key=lambda run: recipe_path(run).stat().st_mtime, default=None)


def has_recipe(run: Path, keys: dict[str, Any]) -> bool:
    """Whether a run has the recipe with these keys, each as the run's recipe gave it or as the run
    decided it."""
    try:
        decided = recipe_keys(load_recipe(str(recipe_path(run))))
        given = recipe_keys(recipe_of(run))
    except UserError:  # of another version, or damaged
        return False
    return keys.keys() == given.keys() and all(
        value in (given[key], decided.get(key)) for key, value in keys.items()
    )


def newest_finished_run() -> Path | None:
    """The run under runs/ that finished last."""
    finished = [run for run in RUNS.glob("*") if is_run(run) and results_path(run).is_file()]
    return max(finished, key=lambda run: results_path(run).stat().st_mtime, default=None)


def recipe_of(run: Path, *, scale: str | None = None, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe that a run was started with, and `key=value` overrides.

    What it left to the run is left open here, too: another machine, or other rows, may call for
    another decision.
    """
    overrides = (*given_overrides(run), *overrides)
    return open_recipe(str(recipe_path(run)), scale=scale, overrides=overrides)


def given_overrides(run: Path) -> tuple[str, ...]:
    """What the run's recipe said for keys that the run decided, as overrides of recipe.yaml."""
    try:
        given = read_json(record_path(run)).get("given")
    except UnreadableJson:
        given = None
    if not isinstance(given, dict):  # a run of an earlier version
        return ()
    return tuple(to_override(key, value) for key, value in given.items() if key in DECIDED_KEYS)


def open_recipe(name: str, *, scale: str | None = None, overrides: tuple[str, ...] = ()) -> Recipe:
    """`load_recipe`, with the model folder of a run for `model=RUN`."""
    recipe = load_recipe(name, scale=scale, overrides=overrides)
    name, _ = resolve_model(recipe.model.name)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": name})})


def resolve_model(name: str) -> tuple[str, Path | None]:
    """(what load_model takes, the run it belongs to) for a model's or a run's name.

    The model folder inside a run stands for the run.
    """
    path = expand(name)
    run = Path(os.path.abspath(path)).parent
    is_its_model = path.is_dir() and model_dir(run).is_dir() and path.samefile(model_dir(run))
    if is_run(run) and is_its_model:
        return name, run
    if not is_run(path):
        return name, None
    if not model_dir(path).is_dir():
        raise UserError(f"{path}: this run has no model yet; it was stopped before its first save")
    return str(model_dir(path)), path
