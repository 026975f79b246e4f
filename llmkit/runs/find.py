"""Find a run, choose the folder of a new one, and open the recipe and the model of a run."""

import os
import shlex
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from llmkit.config.decided import DECIDED_KEYS
from llmkit.config.recipe import load_recipe, recipe_keys, to_override
from llmkit.config.schema import Recipe
from llmkit.errors import UserError
from llmkit.io.small_json import UnreadableJson, read_json
from llmkit.paths import RUNS, check_writable, expand
from llmkit.runs.folder import (
    checkpoints,
    export_dirs,
    int8_dir,
    is_export,
    is_run,
    lock_path,
    model_dir,
    recipe_path,
    record_path,
    results_path,
)


def choose_run_dir(run_dir: str | None, recipe_name: str, *, starts_over: bool = False) -> Path:
    """The folder of a new run.

    Args:
        run_dir: The folder that the user named; None: a new one in runs/, by recipe and time.
        starts_over: Whether the folder may hold a run without a checkpoint, which is replaced.

    Raises:
        UserError: If the folder holds anything else, or cannot be written to.
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
        raise UserError(f"--run-dir: --resume continues in {run} itself; give only one of them")
    if not is_run(run):
        raise UserError(f"--resume: {run} is not a run; name a folder that `llmkit finetune` made")
    return run


def newest_stopped_run(keys: dict[str, Any]) -> Path | None:
    """The stopped run of this recipe in runs/ that was started last.

    keys: Those of the recipe, as `recipe_keys` returns them.
    """
    runs = [run for run in RUNS.glob("*") if is_run(run) and checkpoints(run)]
    stopped = [run for run in runs if not results_path(run).is_file() and has_recipe(run, keys)]
    return max(stopped, key=lambda run: recipe_path(run).stat().st_mtime, default=None)


def has_recipe(run: Path, keys: dict[str, Any], ignored: Iterable[str] = ()) -> bool:
    """Whether a run has the recipe with these keys, each as the run's recipe gave it or as the run
    decided it; those that are ignored may have any value."""
    try:
        decided = recipe_keys(load_recipe(str(recipe_path(run))))
        given = recipe_keys(recipe_of(run))
    except UserError:  # of another version, or damaged
        return False
    return keys.keys() == given.keys() and all(
        key in ignored or value in (given[key], decided.get(key)) for key, value in keys.items()
    )


def newest_finished_run() -> Path | None:
    """The run in runs/ that finished last."""
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
    """The recipe's original values of keys that the run decided, as overrides of recipe.yaml."""
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
    """Resolve the name of a model or a run.

    Returns:
        What `load_model` takes, and the run if the name is a run, or a model or an
        export inside one.
    """
    path = expand(name)
    for run in filter(is_run, Path(os.path.abspath(path)).parents[:2]):
        folders = (model_dir(run), int8_dir(run), *export_dirs(run))
        if path.is_dir() and any(each.is_dir() and path.samefile(each) for each in folders):
            return name, run
    if not is_run(path):
        return name, None
    if not model_dir(path).is_dir():
        raise UserError(f"{path}: this run has no model yet; it was stopped before its first save")
    return str(model_dir(path)), path


def find_finished_run(name: str) -> Path:
    """The folder of a finished run; raises UserError for anything else."""
    _, run = resolve_model(name)
    if run is None:
        raise UserError(f"{name}: not a run; name the folder that `llmkit finetune` made")
    folder = expand(name)
    if not any(folder.samefile(each) for each in (run, model_dir(run)) if each.is_dir()):
        what = "an export" if is_export(folder) else "int8 weights"
        raise UserError(f"{name}: {what} cannot be converted; name the run, {run}")
    if not results_path(run).is_file():
        raise UserError(f"{name}: this run has not finished{resume_hint(run, ())}")
    return run


def resume_hint(run: Path, options: Iterable[str], has_launcher: bool = False) -> str:
    """Advice on resuming a run, for the end of a message.

    Args:
        options: Options of the command besides --resume.
        has_launcher: Whether another program, such as torchrun, started the processes.
    """
    if results_path(run).is_file():
        return f"; it has finished: llmkit report {shlex.quote(str(run))}"
    if not checkpoints(run):
        return "; no checkpoint was saved yet: run the command again with --resume auto"
    command = ["llmkit", "finetune", str(recipe_path(run)), "--resume", str(run), *options]
    how = " under the same launcher" if has_launcher else ""
    return f"; resume{how} with: {shlex.join(command)}"
