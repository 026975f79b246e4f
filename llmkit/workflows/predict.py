"""The prediction of a run from what was measured of it."""

from llmkit.data.token_blocks import TokenBlocks
from llmkit.planning.prediction import Prediction, count_checkpoints, count_validations
from llmkit.planning.work import training_work
from llmkit.workflows.measure import Measurements, cached_bytes, size_of
from llmkit.workflows.probes import MeanStep
from llmkit.workflows.training_setup import TrainingSetup

TOKEN_BYTES, SHARD_TOKEN_BYTES = 8, 2  # in the cache: token and label of rows; of plain text


def predict(setup: TrainingSetup, found: Measurements, step: MeanStep) -> Prediction:
    """The prediction of the recipe as it is written, from what was measured."""
    recipe, schedule = setup.recipe, setup.schedule
    every = recipe.evaluation.every or schedule.steps_per_epoch
    num_validations = count_validations(schedule.num_steps, every)
    work = training_work(setup.model, checkpointing=setup.memory.activation_checkpointing)
    step_seconds = found.steps.seconds(step.micro_batches, work.of(step.amounts))
    steps = found.steps.warm_up + schedule.num_steps * step_seconds
    validation = scoring_seconds(setup, found, "validation", tuned=True) + found.samples_seconds
    trained = steps + num_validations * validation
    checkpoint = recipe.checkpoint
    num_checkpoints = count_checkpoints(
        schedule.num_steps, num_validations, checkpoint.every, checkpoint.minutes, trained
    )
    tests = list(setup.rows.tests)
    has_constraint = recipe.generation.constraint is not None
    tuned = sum(scoring_seconds(setup, found, name, tuned=True) for name in tests)
    unconstrained = sum(
        scoring_seconds(setup, found, name, tuned=True)
        for name in tests
        if has_constraint and setup.rows.tests[name].task.output == "completion"
    )
    untuned = sum(scoring_seconds(setup, found, name, tuned=False) for name in tests)
    statistics = found.statistics.first + sum(
        found.statistics.seconds(size_of(rows)) for rows in setup.rows.tests.values()
    )
    seconds = {
        "preparation": found.setup_seconds + found.build_seconds,
        "optimizer steps": steps,
        "validations": num_validations * validation
        + max(costs.first for costs in found.untuned.values()),
        "checkpoints": num_checkpoints * found.checkpoint_seconds
        + num_validations * found.model_seconds,
        "final scores": tuned + unconstrained + untuned + found.load_seconds + found.open_seconds,
        "statistics": statistics,
    }
    notes = []
    patience = recipe.evaluation.early_stopping_patience
    if patience is not None:
        notes.append("early stopping may end the run sooner: this is its full length")
    return Prediction(
        "measured here",
        seconds,
        predicted_memory(setup, found, step),
        predicted_disk(setup, found, num_checkpoints),
        schedule.num_steps,
        num_validations,
        num_checkpoints,
        notes,
    )


def scoring_seconds(setup: TrainingSetup, found: Measurements, name: str, *, tuned: bool) -> float:
    """Seconds to score the rows of a set, not for the first time."""
    rows = setup.rows.scored[name]
    costs = found.tuned if tuned else found.untuned
    (of_task,) = (
        costs[measured]
        for measured in costs
        if setup.rows.scored[measured].task.name == rows.task.name
    )
    return of_task.seconds(size_of(rows))


def predicted_memory(setup: TrainingSetup, found: Measurements, step: MeanStep) -> dict[str, int]:
    """Bytes at the peak, by what takes them.

    On a CPU, that is what this process took while steps were timed, and what larger micro-batches
    will take more; the libraries take what the estimate of the training does not explain.
    """
    use = setup.memory.use
    parts = use.parts(step.largest)
    if setup.accelerator.device.type == "cuda":
        return parts
    more = use.activations(step.largest) - use.activations(found.steps.largest_timed)
    peak = found.peak_bytes + max(0, more) + more_cached_bytes(setup, found)
    return {"libraries, rows and reserve": max(0, peak - sum(parts.values())), **parts}


def more_cached_bytes(setup: TrainingSetup, found: Measurements) -> int:
    """Bytes of the keys and values of rows that are generated at once, beyond those timed."""
    more = []
    for name, costs in found.tuned.items():
        task = setup.rows.scored[name].task.name
        sets = [rows for rows in setup.rows.scored.values() if rows.task.name == task]
        most = min(costs.at_once, max(map(size_of, sets)))
        votes = setup.recipe.evaluation.votes
        row_bytes = votes * max(cached_bytes(setup, rows) for rows in sets)
        more.append(max(0, most - costs.num_timed) * row_bytes)
    return max(more)


def predicted_disk(
    setup: TrainingSetup, found: Measurements, num_checkpoints: int
) -> dict[str, int]:
    """Bytes that stay on the disk, by what takes them."""
    keep = min(setup.recipe.checkpoint.keep + 1, num_checkpoints)  # and the one of the best weights
    num_rows = sum(len(test.rows) for test in setup.rows.tests.values())
    rows = setup.schedule.rows
    token_bytes = SHARD_TOKEN_BYTES if isinstance(rows, TokenBlocks) else TOKEN_BYTES
    return {
        "checkpoints": keep * found.checkpoint_bytes,
        "model": found.model_bytes,
        "predictions": int(found.prediction_bytes * num_rows),
        "encoded rows in the cache": token_bytes * int(rows.lengths.sum()),
    }
