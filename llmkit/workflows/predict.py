"""Predict the costs of a run from measurements of its parts."""

from typing import Any

from llmkit.config.schema import Checkpoint
from llmkit.data.encoded_train import TRAIN_SET
from llmkit.data.mixed_rows import MixedRows, TrainRows
from llmkit.data.prepared_text import PreparedSource
from llmkit.data.rows import Rows
from llmkit.data.token_blocks import TokenBlocks
from llmkit.planning.flops import training_flops
from llmkit.planning.predicted_costs import (
    CHECKPOINTS,
    FINAL_SCORES,
    MEASURED,
    PREPARATION,
    STATISTICS,
    STEPS,
    VALIDATIONS,
    PredictedCosts,
    count_checkpoints,
    count_validations,
)
from llmkit.workflows.measure import Measurements, cached_bytes, size_of, timed_set
from llmkit.workflows.probes import MeanStep
from llmkit.workflows.training_setup import TrainingSetup

LIBRARIES = "libraries, rows and reserve"  # part of the memory on a CPU
TOKEN_BYTES = 8  # per token of encoded rows in the cache: token id and label
SHARD_TOKEN_BYTES = 2  # per token of prepared text in the cache


def predict(setup: TrainingSetup, measured: Measurements, step: MeanStep) -> PredictedCosts:
    """Predict the costs of the recipe as written."""
    recipe, num_steps = setup.recipe, setup.schedule.num_steps
    every = recipe.evaluation.every or setup.schedule.steps_per_epoch
    num_validations = count_validations(num_steps, every)
    steps = step_seconds(setup, measured, step)
    validations = num_validations * (
        scoring_seconds(setup, measured, "validation", tuned=True) + measured.samples_seconds
    )
    checkpoint = recipe.checkpoint
    num_checkpoints = count_checkpoints(
        num_steps, num_validations, checkpoint.every, checkpoint.minutes, steps + validations
    )
    seconds = {
        PREPARATION: measured.setup_seconds + measured.build_seconds,
        STEPS: steps,
        VALIDATIONS: validations + max(costs.first for costs in measured.untuned.values()),
        CHECKPOINTS: num_checkpoints * measured.checkpoint_seconds
        + num_validations * measured.model_seconds,
        FINAL_SCORES: final_scoring_seconds(setup, measured),
        STATISTICS: statistics_seconds(setup, measured),
    }
    notes = []
    if recipe.evaluation.early_stopping_patience is not None:
        notes.append("early stopping may end the run sooner: this is its full length")
    return PredictedCosts(
        MEASURED,
        seconds,
        predicted_memory(setup, measured, step),
        predicted_disk(setup, measured, num_checkpoints),
        num_steps,
        num_validations,
        num_checkpoints,
        notes,
    )


def step_seconds(setup: TrainingSetup, measured: Measurements, step: MeanStep) -> float:
    """Seconds of all optimizer steps."""
    flops = training_flops(setup.model, checkpointing=setup.memory.activation_checkpointing)
    per_step = measured.steps.seconds(step.micro_batches, flops.total(step.workload))
    return measured.steps.warm_up + setup.schedule.num_steps * per_step


def final_scoring_seconds(setup: TrainingSetup, measured: Measurements) -> float:
    """Seconds to load and score the tuned model, with and without a constraint, and the untuned
    model."""
    seconds = measured.load_seconds + measured.open_seconds
    for name, rows in setup.rows.tests.items():
        tuned = scoring_seconds(setup, measured, name, tuned=True)
        seconds += tuned + scoring_seconds(setup, measured, name, tuned=False)
        if setup.recipe.generation.constraint is not None and rows.task.output == "completion":
            seconds += tuned
    return seconds


def statistics_seconds(setup: TrainingSetup, measured: Measurements) -> float:
    """Seconds of intervals, tests, baselines and result files."""
    tests = setup.rows.tests.values()
    return measured.statistics.first + sum(
        measured.statistics.seconds(size_of(rows)) for rows in tests
    )


def scoring_seconds(
    setup: TrainingSetup, measured: Measurements, name: str, *, tuned: bool
) -> float:
    """Seconds to score the rows of a set, without the additional time of the first call."""
    costs = measured.tuned if tuned else measured.untuned
    of_task = costs[timed_set(setup, name, costs)]
    return of_task.seconds(size_of(setup.rows.scored[name]))


def predicted_memory(
    setup: TrainingSetup, measured: Measurements, step: MeanStep
) -> dict[str, int]:
    """Peak memory in bytes, by part.

    On a CPU, it is the measured peak of this process plus the estimated increase for larger
    micro-batches than those timed; what the estimate of the training does not explain is attributed
    to the libraries. On a GPU, it is the estimate.
    """
    usage = setup.memory.usage
    parts = usage.parts(step.largest)
    if setup.accelerator.device.type == "cuda":
        return parts
    more = usage.activations(step.largest) - usage.activations(measured.steps.largest_timed)
    peak = measured.peak_bytes + max(0, more) + more_cached_bytes(setup, measured)
    return {LIBRARIES: max(0, peak - sum(parts.values())), **parts}


def more_cached_bytes(setup: TrainingSetup, measured: Measurements) -> int:
    """Memory of the key-value cache for the rows that are generated at once in addition to those
    timed, in bytes."""
    more = []
    for name, costs in measured.tuned.items():
        task = setup.rows.scored[name].task.name
        sets = [rows for rows in setup.rows.scored.values() if rows.task.name == task]
        most = min(costs.at_once, max(map(size_of, sets)))
        votes = setup.recipe.evaluation.votes
        row_bytes = votes * max(cached_bytes(setup, rows) for rows in sets)
        more.append(max(0, most - costs.num_timed) * row_bytes)
    return max(more)


def predicted_disk(
    setup: TrainingSetup, measured: Measurements, num_checkpoints: int
) -> dict[str, int]:
    """Disk space of the finished run in bytes, by part."""
    num_rows = sum(len(test.rows) for test in setup.rows.tests.values())
    return {
        "checkpoints": num_kept(setup.recipe.checkpoint, num_checkpoints)
        * measured.checkpoint_bytes,
        "model": measured.model_bytes,
        "predictions": int(measured.prediction_bytes * num_rows),
        "encoded rows in the cache": cached_row_bytes(setup),
    }


def num_kept(checkpoint: Checkpoint, num_checkpoints: int) -> int:
    """Number of checkpoints in a finished run, including the one with the best weights.

    checkpoint: The `checkpoint` section of the recipe.
    """
    return min(checkpoint.keep + 1, num_checkpoints)


def cached_row_bytes(setup: TrainingSetup) -> int:
    """Disk space of the encoded training rows in the cache, in bytes."""
    train: Rows = setup.rows.splits["train"]
    sources = {TRAIN_SET: train.source}
    sources |= {name: of_set.rows.source for name, of_set in train.mixed.items()}
    return encoded_bytes(setup.schedule.rows, sources)


def encoded_bytes(rows: TrainRows | MixedRows, sources: dict[str, Any]) -> int:
    """Bytes of encoded rows in the cache. A set whose source is a folder of prepared text has none.

    sources: The source of each set of rows by name; TRAIN_SET if there is only one.
    """
    sets = rows.sets if isinstance(rows, MixedRows) else {TRAIN_SET: rows}
    return sum(
        (SHARD_TOKEN_BYTES if isinstance(of_set, TokenBlocks) else TOKEN_BYTES)
        * int(of_set.lengths.sum())
        for name, of_set in sets.items()
        if not isinstance(sources[name], PreparedSource)
    )
