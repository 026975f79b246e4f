"""The `prune` command: prune a run's model, train it to recover, and compare the two."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from rich.console import Console
from torch import nn

from llmkit.config.decided import with_values
from llmkit.config.recipe import recipe_keys
from llmkit.config.schema import Recipe
from llmkit.data.batches import Batch
from llmkit.errors import UserError, count_of
from llmkit.io.atomic import (
    MANIFEST,
    CorruptFolder,
    check_replaceable,
    make_folder,
    read_own_json,
    remove_folder,
    sibling,
    write_text,
)
from llmkit.model.load import check_finite_weights, load_model, move_to_device, save_model
from llmkit.model.pruning import prune_magnitude, prune_structured, pruned_shape
from llmkit.paths import check_writable
from llmkit.reports.pruning import PrunedRun, picture
from llmkit.runs.find import find_finished_run, has_recipe, recipe_of
from llmkit.runs.folder import (
    checkpoints,
    is_run,
    model_dir,
    pruned_dir,
    pruned_plot_path,
    record_path,
    results_path,
)
from llmkit.runtime.devices import start_accelerator
from llmkit.runtime.signals import Signals, Stopped
from llmkit.units import show_percent
from llmkit.workflows.compression import Scorer, weight_bytes
from llmkit.workflows.finetune import finetune
from llmkit.workflows.training_setup import TrainingSetup, setup_training
from llmkit.workflows.trials import trial_settings

RECOVERY = 1 / 3  # steps of a recovery, as a share of those of the run
NUM_ROWS = 64  # training rows that decide what is removed
BEFORE = "before"
START, RECOVERED = "start", "recovered"  # folders of a pruned model and of its recovery


@dataclass(frozen=True)
class PruningPlan:
    """What is pruned, and how."""

    run: Path
    recipe: Recipe
    method: str
    """structured: whole blocks and neurons of the MLPs; magnitude: single weights, set to 0."""
    shares: Sequence[float]
    """Shares of the weights of the blocks to remove, one model for each."""
    num_steps: int
    """Optimizer steps of each recovery; 0: none."""

    def folder(self, share: float) -> Path:
        """The folder of a pruned model and of its recovery."""
        return pruned_dir(self.run, self.method, share)

    def start(self, share: float) -> Path:
        """The pruned model before its recovery."""
        return self.folder(share) / START

    def recovered(self, share: float) -> Path:
        """The run of the recovery."""
        return self.folder(share) / RECOVERED

    def recovery_recipe(self, share: float) -> Recipe:
        """The recipe of the run, for fewer steps that start from the pruned model."""
        num_steps = num_steps_of(self.run)
        settings = trial_settings(self.recipe.train, self.num_steps, num_steps)
        settings = settings.model_copy(update={"keep_zeros": self.method == "magnitude"})
        recipe = with_values(
            self.recipe, {"model.name": str(self.start(share).absolute()), "model.revision": None}
        )
        return recipe.model_copy(update={"train": settings})


def plan_pruning(
    name: str,
    shares: Sequence[float],
    method: str,
    num_steps: int | None,
    overrides: tuple[str, ...],
) -> PruningPlan:
    """The plan of a command; num_steps None: RECOVERY of the steps of the run."""
    for share in shares:
        if float(f"{share:g}") != share:  # folders are named by 6 digits
            raise UserError(f"--share {share}: round it to 6 digits")
    run = find_finished_run(name)
    check_writable(pruned_dir(run, method, shares[0]).parent, "RUN")
    recipe = recipe_of(run, overrides=overrides)
    if num_steps != 0:
        length = num_steps_of(run)
        num_steps = max(1, round(RECOVERY * length)) if num_steps is None else num_steps
    if num_steps and method == "magnitude" and recipe.train.method == "lora":
        raise UserError(
            f"{name}: merged adapters would overwrite the zeros; add train.method=full or "
            "--recover 0"
        )
    return PruningPlan(run, recipe, method, sorted(set(shares)), num_steps)


def num_steps_of(run: Path) -> int:
    """Optimizer steps of a run."""
    try:
        return int(read_own_json(record_path(run))["num_steps"])
    except (CorruptFolder, KeyError, TypeError, ValueError):
        raise UserError(
            f"{record_path(run)}: num_steps is missing, so the length of the run is unknown; train "
            "it again"
        ) from None


def prune_run(
    plan: PruningPlan, console: Console, signals: Signals, *, is_forced: bool = False
) -> PrunedRun:
    """Prune the model of a finished run, train each pruned model further with the recipe of the
    run, and compare size, score and speed with those of the model.

    A command that was interrupted continues where it was.

    Args:
        signals: Stop requests.
        is_forced: Start over.

    Raises UserError, before any work, for a share that cannot be removed, for a folder that another
    program wrote, and for pruned models that were made with other settings.
    """
    for share in plan.shares:
        check_replaceable(plan.folder(share), is_pruned, is_forced=True)  # or continued
        if not is_forced:
            require_same_plan(plan, share)
    setup = open_setup(plan)
    check_finite_weights(setup.model)
    scorer = Scorer(setup.rows.tests["test"], setup.evaluator, setup.metric.name)
    if plan.method == "structured":
        for share in plan.shares:
            pruned_shape(setup.model, share)
    if is_forced:
        for share in plan.shares:
            remove_folder(plan.folder(share))
    with advice_to_continue(is_forced=is_forced):
        for share in plan.shares:
            if not plan.start(share).is_dir():
                console.print(f"pruning {show_percent(share)} ({plan.method})")
                write_pruned(plan, share, setup)
            if plan.num_steps and not results_path(plan.recovered(share)).is_file():
                steps = count_of(plan.num_steps, "step")
                console.print(f"recovery of {show_percent(share)}: {steps}")
                recover(plan, share, console, signals)
        pruned = compare(plan, setup.model, scorer, console)
        write_text(pruned_plot_path(plan.run, plan.method), picture(pruned))
    return pruned


@contextmanager
def advice_to_continue(*, is_forced: bool) -> Iterator[None]:
    """Add advice on how to continue the command to an error or stop request in the block."""
    try:
        yield
    except (Stopped, OSError, FloatingPointError, MemoryError, RuntimeError) as error:
        how = "again without --force" if is_forced else "again"
        error.advice = f"; run the command {how} to continue"
        raise


def open_setup(plan: PruningPlan) -> TrainingSetup:
    """The model and the rows of the run, prepared as for training all weights."""
    recipe = with_values(
        plan.recipe,
        {
            "model.name": str(model_dir(plan.run)),
            "model.revision": None,
            "train.method": "full",
            "train.freeze_layers": 0,
        },
    )
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    return setup_training(recipe, accelerator, Console(quiet=True))


def is_pruned(folder: Path) -> bool:
    """Whether `prune` wrote the folder of a share, of which it may have finished nothing yet."""
    start = folder / START
    if (start / MANIFEST).is_file() or is_run(folder / RECOVERED):
        return True
    return folder.is_dir() and set(folder.iterdir()) <= {sibling(start, "partial")}


def require_same_plan(plan: PruningPlan, share: float) -> None:
    """Raise UserError if a recovery was started with other settings, apart from the path of the
    pruned model, which differs once the run has been moved."""
    run = plan.recovered(share)
    if is_run(run) and not has_recipe(
        run, recipe_keys(plan.recovery_recipe(share)), ignored=("model.name",)
    ):
        raise UserError(
            f"{plan.folder(share)}: made with other settings; give --force to replace it"
        )


def write_pruned(plan: PruningPlan, share: float, setup: TrainingSetup) -> None:
    """Write a pruned model, completely or not at all."""
    model, tokenizer = load_model(model_dir(plan.run))
    move_to_device(model, setup.accelerator.device)
    if plan.method == "structured":
        prune_structured(model, share, plan.recipe.train.forward, first_batches(setup))
    else:
        prune_magnitude(model, share)
    make_folder(plan.folder(share))
    save_model(model, tokenizer, plan.start(share))


def first_batches(setup: TrainingSetup) -> list[Batch]:
    """The micro-batches of the first steps, with at least NUM_ROWS training rows."""
    schedule = setup.schedule
    steps = takewhile(
        lambda step: step * schedule.global_batch_size < NUM_ROWS, range(schedule.num_steps)
    )
    return [batch for step in steps for batch in schedule.micro_batches(step)]


def recover(plan: PruningPlan, share: float, console: Console, signals: Signals) -> None:
    """Train a pruned model further, from its newest checkpoint if there is one."""
    run = plan.recovered(share)
    resume = bool(checkpoints(run))
    finetune(plan.recovery_recipe(share), run, console, signals, resume=resume)


def compare(plan: PruningPlan, model: nn.Module, scorer: Scorer, console: Console) -> PrunedRun:
    """Score and time the model of the run and all pruned models."""
    folders = {BEFORE: model_dir(plan.run)}
    for share in plan.shares:
        folders[f"{show_percent(share)} pruned"] = plan.start(share)
        if plan.num_steps:
            folders[f"{show_percent(share)} recovered"] = model_dir(plan.recovered(share))
    models = {
        name: model if name == BEFORE else load_model(folder)[0] for name, folder in folders.items()
    }
    results = {name: scorer.score(name, each, console) for name, each in models.items()}
    sizes = {name: weight_bytes(folder) for name, folder in folders.items()}
    before, *others = scorer.compare(models, results, sizes)
    size = len(others) // len(plan.shares)  # figures of each share
    groups = [others[at : at + size] for at in range(0, len(others), size)]
    return PrunedRun(
        plan.method,
        scorer.metric,
        len(scorer.test.rows),
        plan.num_steps,
        before,
        dict(zip(plan.shares, groups, strict=True)),
    )
