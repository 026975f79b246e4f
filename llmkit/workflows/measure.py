"""Time the parts of a run on this machine, with the rows and the model of the recipe."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from llmkit.data.encode import EncodingOptions
from llmkit.evaluation.evaluation_set import EvaluationSet, encode_test_set
from llmkit.evaluation.samples import take_samples
from llmkit.generation.generate import max_running_rows
from llmkit.generation.kv_cache import KeyValueCache
from llmkit.model.load import load_model
from llmkit.model.loss import SupervisedLoss, unwrap_model
from llmkit.model.packed import generation_dtype
from llmkit.model.recipe_model import open_model
from llmkit.paths import RUNS, total_size
from llmkit.planning.flops import training_flops
from llmkit.runs.folder import checkpoints_dir, log_path, model_dir, predictions_path
from llmkit.runtime.devices import choose_precision
from llmkit.runtime.memory import peak_bytes
from llmkit.scoring.comparison import compare_on_test_sets
from llmkit.scoring.results import write_results
from llmkit.scoring.scores import SystemResult, score_predictions
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import FINE_TUNED, UNTUNED
from llmkit.training.checkpoint import prune, save_checkpoint
from llmkit.training.saver import RunSaver
from llmkit.training.state import TrainingProgress, reproducibility_key
from llmkit.training.trainer import Trainer
from llmkit.workflows.decide import decided_values
from llmkit.workflows.probes import RowCosts, StepCosts, relative_seconds, time_rows, time_steps
from llmkit.workflows.training_setup import TrainingSetup

STEP_SECONDS = 6.0  # to time optimizer steps
SCORE_SECONDS = 4.0  # to time the untuned model, the tuned model, and the statistics, each
MIN_SCORED = 2  # rows in the first measurement
MAX_SAVED_BYTES = 2e9  # larger checkpoints are not written, but extrapolated from a small one
SMALL_SAVE_WIDTH = 6000  # width of a square matrix of 144 MB
Results = dict[str, dict[str, SystemResult]]
"""Results by test set and system."""


@dataclass
class Measurements:
    """Measured seconds and bytes of the parts of a run."""

    setup_seconds: float
    """Seconds to prepare the data and the model."""
    build_seconds: float = 0.0
    """Seconds to build the trainer."""
    open_seconds: float = 0.0
    """Seconds to open the untuned model again."""
    load_seconds: float = 0.0
    """Seconds to load the saved model."""
    steps: StepCosts | None = None
    untuned: dict[str, RowCosts] = field(default_factory=dict)
    """Costs of scoring the untuned model, by evaluation set."""
    tuned: dict[str, RowCosts] = field(default_factory=dict)
    """Costs of scoring the tuned model, by evaluation set."""
    statistics: RowCosts | None = None
    samples_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    checkpoint_bytes: int = 0
    model_seconds: float = 0.0
    model_bytes: int = 0
    relative_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of a forward and backward pass in other precisions, as a multiple of those in the
    recipe's."""
    prediction_bytes: float = 0.0
    """Bytes per row of predictions.jsonl."""
    peak_bytes: int = 0


def time_parts(setup: TrainingSetup, measured: Measurements) -> None:
    """Time each part of a run, in the order of the run."""
    recipe = setup.recipe
    kinds = {each.task.name: name for name, each in setup.rows.scored.items()}
    chosen = {name: setup.rows.scored[name] for name in kinds.values()}  # one set of each task
    results: Results = {}
    for name, rows in chosen.items():
        results[name] = {}
        keep = partial(results[name].__setitem__, UNTUNED)
        measured.untuned[name] = time_scoring(setup, rows, keep)
    started = time.perf_counter()
    trainer = Trainer.build(setup.model, setup.schedule, recipe.train, setup.accelerator)
    measured.build_seconds = time.perf_counter() - started
    flops = training_flops(setup.model, checkpointing=setup.memory.activation_checkpointing)
    measured.steps = time_steps(trainer, flops, STEP_SECONDS)
    for name, rows in chosen.items():
        keep = partial(results[name].__setitem__, FINE_TUNED)
        measured.tuned[name] = time_scoring(setup, rows, keep)
    time_samples(setup, results, measured)
    with temporary_run() as run:
        time_saves(setup, trainer, run, measured)
        time_statistics(setup, results, run, measured)
    started = time.perf_counter()
    again, _ = open_model(recipe, setup.rows.splits["train"])
    measured.open_seconds = time.perf_counter() - started
    del again
    measured.peak_bytes = peak_bytes(setup.accelerator.device)
    measured.relative_seconds = time_other_precision(setup)


def timed_set(setup: TrainingSetup, name: str, timed: Iterable[str]) -> str:
    """The set of the same task as the set `name`, among the sets that were timed."""
    task = setup.rows.scored[name].task.name
    (found,) = (each for each in timed if setup.rows.scored[each].task.name == task)
    return found


def time_other_precision(setup: TrainingSetup) -> dict[str, float]:
    """Relative seconds of the precision that `auto` would choose, if the recipe sets another."""
    settings, accelerator = setup.recipe.train, setup.accelerator
    own = accelerator.mixed_precision
    other = choose_precision("auto", accelerator.device.type == "cpu")
    if other == own:
        return {}
    loss = SupervisedLoss(setup.model, settings.forward).train()
    return {other: relative_seconds(loss, setup.schedule, settings, (own, other), STEP_SECONDS)}


def time_scoring(
    setup: TrainingSetup, rows: EvaluationSet, keep: Callable[[SystemResult], None]
) -> RowCosts:
    """Time the scoring of the current model on the first rows of a set.

    keep: Called with each result; the last one covers the most rows.
    """

    def prepare(num_rows: int) -> Callable[[], None]:
        first = first_rows(setup, rows, num_rows)
        return lambda: keep(setup.evaluator.evaluate(setup.model, first))

    return time_rows(
        prepare, size_of(rows), rows_at_once(setup, rows), SCORE_SECONDS, MIN_SCORED,
        is_sublinear=rows.task.output == "completion",
    )  # fmt: skip


def size_of(rows: EvaluationSet) -> int:
    """Number of rows that are scored; for plain text, number of blocks."""
    return len(rows.encoded) if rows.task.output == "text" else len(rows.rows)


def rows_at_once(setup: TrainingSetup, rows: EvaluationSet) -> int:
    """Number of rows whose completions are generated together; unlimited for tasks that generate no
    text."""
    evaluation, generation = setup.recipe.evaluation, setup.recipe.generation
    if rows.task.output != "completion":
        return sys.maxsize
    if generation.num_beams > 1:
        return evaluation.batch_size
    row_bytes = cached_bytes(setup, rows)
    return max(1, max_running_rows(evaluation.batch_size, row_bytes) // evaluation.votes)


def cached_bytes(setup: TrainingSetup, rows: EvaluationSet) -> int:
    """Bytes of the key-value cache of one row while its completion is generated."""
    if rows.task.output != "completion":
        return 0
    model = unwrap_model(setup.model)
    longest = max(map(len, rows.prompts)) + setup.recipe.generation.max_new_tokens
    return longest * KeyValueCache.bytes_per_token(model.config, generation_dtype(model))


def first_rows(setup: TrainingSetup, rows: EvaluationSet, number: int) -> EvaluationSet:
    """The first rows of a set; for plain text, the first blocks."""
    if number >= size_of(rows):
        return rows
    if rows.task.output == "text":
        blocks = rows.encoded.select(range(number))
        return replace(rows, encoded=blocks, num_bytes=rows.num_bytes[:number])
    test = TestSet(rows.task, rows.rows[:number], rows.examples[:number], rows.answers, [])
    options = EncodingOptions.of(setup.recipe.data, is_scored=True)
    return encode_test_set(test, setup.tokenizer, options, setup.recipe.generation.max_new_tokens)


def time_samples(setup: TrainingSetup, results: Results, measured: Measurements) -> None:
    """Time the samples of a validation. Only those of plain text are generated separately."""
    rows = setup.rows.validation
    if rows.task.output == "text" and setup.recipe.evaluation.samples:
        started = time.perf_counter()
        take_samples(setup.evaluator, setup.model, rows, [])
        measured.samples_seconds = time.perf_counter() - started


@contextmanager
def temporary_run() -> Iterator[Path]:
    """A temporary run folder on the same disk as the runs."""
    parent = RUNS if RUNS.is_dir() else Path.cwd()
    with tempfile.TemporaryDirectory(prefix=".llmkit-plan-", dir=parent) as folder:
        yield Path(folder)


def time_saves(setup: TrainingSetup, trainer: Trainer, run: Path, measured: Measurements) -> None:
    """Time the writing of a checkpoint and of the model; for large models, extrapolate from a small
    checkpoint."""
    key, decided = reproducibility_key(setup.record), decided_values(setup)
    saver = RunSaver(run, setup.tokenizer, setup.recipe, key, decided)
    checkpoints_dir(run).mkdir()
    log_path(run).touch()
    usage = setup.memory.usage
    if usage.checkpoint + usage.weights > MAX_SAVED_BYTES:
        measured.checkpoint_bytes, measured.model_bytes = usage.checkpoint, usage.weights
        rate = time_small_save(saver, run)
        measured.checkpoint_seconds = rate * measured.checkpoint_bytes
        measured.model_seconds = measured.load_seconds = rate * measured.model_bytes
        return
    started = time.perf_counter()
    saver.save_checkpoint(trainer)
    measured.checkpoint_seconds = time.perf_counter() - started
    started = time.perf_counter()
    saver.save_best_model(trainer)
    measured.model_seconds = time.perf_counter() - started
    measured.checkpoint_bytes = total_size(checkpoints_dir(run).rglob("*"))
    measured.model_bytes = total_size(model_dir(run).rglob("*"))
    started = time.perf_counter()
    load_model(model_dir(run))
    measured.load_seconds = time.perf_counter() - started


def time_small_save(saver: RunSaver, run: Path) -> float:
    """Seconds per byte, measured on the checkpoint of a single layer."""
    layer = nn.Linear(SMALL_SAVE_WIDTH, SMALL_SAVE_WIDTH)
    state = saver.state(TrainingProgress()).model_dump(mode="json")
    started = time.perf_counter()
    saved = save_checkpoint(run, layer, torch.optim.SGD(layer.parameters()), state)
    prune(run, saved, keep=1)
    return (time.perf_counter() - started) / total_size(saved.rglob("*"))


def time_statistics(
    setup: TrainingSetup, results: Results, run: Path, measured: Measurements
) -> None:
    """Time intervals, tests, baselines and result files for the test set."""
    name = timed_set(setup, "test", results)
    source, timed = setup.rows.scored[name], results[name]
    most = min(len(next(iter(each.statistics.values()))) for each in timed.values())

    def prepare(number: int) -> Callable[[], None]:
        test = first_rows(setup, source, number)

        def run_all() -> None:
            systems = {
                name: {"test": first_results(result, source, number)}
                for name, result in timed.items()
            }
            compared = compare_on_test_sets({"test": test}, systems, FINE_TUNED, setup.metric)
            write_results(run, compared, setup.rows.splits["train"])

        return run_all

    least = min(most, 12)  # intervals are computed for 10 rows or more
    measured.statistics = time_rows(prepare, most, most, SCORE_SECONDS, least)
    if predictions_path(run).is_file():
        measured.prediction_bytes = predictions_path(run).stat().st_size / most


def first_results(result: SystemResult, rows: EvaluationSet, number: int) -> SystemResult:
    """The result restricted to the first rows."""
    statistics = {name: values[:number] for name, values in result.statistics.items()}
    return score_predictions(rows.task, statistics, result.predictions[:number])
