"""The end of a run: score the best weights and the untuned model, and write the results."""

import time
from pathlib import Path
from typing import NamedTuple

from accelerate.utils import broadcast
from rich.console import Console
from transformers import PreTrainedModel

from llmkit.errors import count_of
from llmkit.families import family_of
from llmkit.io.atomic import write_manifest, write_text
from llmkit.model.load import load_model, merged
from llmkit.model.loss import unwrap_model
from llmkit.model.recipe_model import open_model
from llmkit.reports import terminal
from llmkit.reports.html import write_report
from llmkit.reports.model_card import model_card
from llmkit.runs.folder import card_path, model_dir, report_path
from llmkit.runtime.devices import wait_for_all
from llmkit.runtime.ranks import is_rank_zero
from llmkit.scoring.comparison import compare_on_test_sets
from llmkit.scoring.results import write_results
from llmkit.scoring.scores import SystemResult, TestResults
from llmkit.scoring.verdict import FINE_TUNED, UNTUNED, unconstrained
from llmkit.units import show_bytes, show_seconds
from llmkit.workflows.training_setup import TrainingSetup


class Trained(NamedTuple):
    """Figures of the training for metrics.json."""

    best_step: int
    train_seconds: float
    costs: dict[str, dict[str, float]]
    """See SavedResults.costs."""


def score_run(
    setup: TrainingSetup, run: Path, console: Console, trained: Trained, started: float
) -> TestResults:
    """Score the best weights, the untuned model and the baselines; write and print the results.

    started: Start of the run, by time.perf_counter.
    """
    setup.accelerator.free_memory()
    setup.model.zero_grad(set_to_none=True)
    setup.model.cpu()  # frees device memory for the models that are scored
    systems = score_systems(setup, run, console)
    results = compare_on_test_sets(setup.rows.tests, systems, FINE_TUNED, setup.metric)
    if setup.accelerator.is_main_process:
        seconds = round(time.perf_counter() - started, 1)
        write_card(setup, run, results["test"])
        write_results(
            run, results, setup.rows.splits["train"], seconds=seconds, **trained._asdict()
        )
        write_report([run], report_path(run))
        show_end(console, run, results, seconds, trained)
    wait_for_all(setup.accelerator)  # launchers may kill processes that end later than others
    return results["test"]


def score_systems(
    setup: TrainingSetup, run: Path, console: Console
) -> dict[str, dict[str, SystemResult]]:
    """Score the best weights and the untuned model on each test set, one after the other."""
    evaluator, tests = setup.evaluator, setup.rows.tests
    tuned = best_model(setup, run)
    rows = count_of(sum(len(test.rows) for test in tests.values()), "test row")
    console.print(f"scoring the best weights and the untuned model on {rows}")
    systems = {FINE_TUNED: evaluator.evaluate_all(tuned, tests)}
    systems[unconstrained(FINE_TUNED)] = evaluator.evaluate_unconstrained(tuned, tests)
    del tuned
    untuned, _ = open_model(setup.recipe, setup.rows.splits["train"])
    systems[UNTUNED] = evaluator.evaluate_all(untuned, tests)
    return systems


def write_card(setup: TrainingSetup, run: Path, results: TestResults) -> None:
    """Write the model card into the folder of the model."""
    recipe = setup.recipe
    card = model_card(
        run.name,
        results,
        family_of(unwrap_model(setup.model).config),
        base_model=recipe.model.name,
        data=recipe.data,
        generation=recipe.generation,
        train=recipe.train,
        seed=recipe.seed,
    )
    write_text(card_path(model_dir(run)), card)
    write_manifest(model_dir(run))


def best_model(setup: TrainingSetup, run: Path) -> PreTrainedModel:
    """Load the run's model in the first process, and broadcast it to the others."""
    accelerator = setup.accelerator
    if accelerator.num_processes == 1:
        return load_model(model_dir(run))[0]
    model = load_model(model_dir(run))[0] if is_rank_zero() else merged(setup.model)
    for weight in model.parameters():
        weight.data.copy_(broadcast(weight.data.to(accelerator.device)))
    return model


def show_end(
    console: Console,
    run: Path,
    results: dict[str, TestResults],
    seconds: float,
    trained: Trained,
) -> None:
    """Print the results, and the command to use the model."""
    terminal.show_results(console, results)
    terminal.show_examples(console, results["test"])
    terminal.show_verdict(console, results["test"])
    console.print(
        f"{show_seconds(seconds)} in total, {show_seconds(trained.train_seconds)} of training"
    )
    console.print(costs_line(trained.costs))
    console.print(f"report: {report_path(run)}")
    command = terminal.command_to_use(run, results["test"].test.task)
    console.print(f"model: {model_dir(run)}; {command}")


def costs_line(costs: dict[str, dict[str, float]]) -> str:
    """Actual and predicted costs in one line."""
    parts = []
    if "step_seconds" in costs:
        steps = costs["step_seconds"]
        parts.append(
            f"{show_seconds(steps['actual'])} of optimizer steps "
            f"(predicted {show_seconds(steps['predicted'])})"
        )
    peak = costs["peak_bytes"]
    parts.append(
        f"{show_bytes(peak['actual'])} of memory (predicted {show_bytes(peak['predicted'])})"
    )
    return ", ".join(parts)
