"""Time optimizer steps, and other work on rows, within a few seconds each."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console

from llmkit.config.schema import Train
from llmkit.data.batches import Batch
from llmkit.evaluation.samples import evenly_spaced
from llmkit.model.loss import SupervisedLoss
from llmkit.planning.fit import fit_costs
from llmkit.planning.flops import Flops, Workload
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.log import RunLog
from llmkit.training.trainer import HALF_PRECISION, Trainer

NUM_STEPS = 48  # maximum number of full steps to time; more hardly change the mean
MIN_STEPS = 3  # with more full steps than this, all steps of fewer rows are ignored
NUM_SAMPLED = 256  # steps to compute the mean step from
FIRST_GROWTH = 8  # factor between the first two numbers of rows
MAX_FIRST = 4  # limit of the first measurement, in time limits, for there to be a second one
GROWTH = 4  # factor between the numbers of rows that are timed one after the other
PRECISION_TOKENS = 4096  # to compare two precisions; more hardly change their ratio


@dataclass(frozen=True)
class StepCosts:
    """Cost model of an optimizer step, in seconds."""

    per_step: float
    per_micro_batch: float
    per_flop: float
    warm_up: float
    """Additional seconds of the first step."""
    num_timed: int
    """Number of steps that the costs were fitted to."""
    largest_timed: int
    """Tokens in the largest micro-batch that was timed."""

    def seconds(self, num_micro_batches: float, flop: float) -> float:
        """Seconds of a step after the first."""
        return self.per_step + self.per_micro_batch * num_micro_batches + self.per_flop * flop


@dataclass(frozen=True)
class StepTiming:
    """Measured time and size of a step."""

    seconds: float
    micro_batches: int
    flop: float
    largest: int
    """Tokens in the largest micro-batch."""


def time_steps(trainer: Trainer, flops: Flops, allowed: float) -> StepCosts:
    """Time optimizer steps of one row, then of more and more rows, and then full steps, as long as
    time is left. The weights change.

    Args:
        trainer: The trainer.
        flops: FLOPs of training the trainer's model.
        allowed: Time limit in seconds; twice as much for the first two full steps, without which
            the estimate is too high, since large steps take less time per FLOP than small ones.
    """
    schedule, started = trainer.schedule, time.perf_counter()
    complete: list[StepTiming] = []

    def has_time(seconds: float) -> bool:
        limit = allowed if len(complete) > 1 else 2 * allowed
        return time.perf_counter() - started + seconds < limit

    def with_rows(number: int) -> BatchSchedule:
        return schedule.with_settings(
            trainer.settings.model_copy(update={"global_batch_size": number})
        )

    one_row, num_rows = with_rows(1), GROWTH
    first = time_step(trainer, one_row, 0, flops)
    partial = [time_step(trainer, one_row, 0, flops) if has_time(first.seconds) else first]
    while num_rows < schedule.global_batch_size and has_time(GROWTH * partial[-1].seconds):
        partial.append(time_step(trainer, with_rows(num_rows), 0, flops))
        num_rows *= GROWTH
    steps = spread(schedule.num_steps, NUM_STEPS) if num_rows >= schedule.global_batch_size else []
    for step in steps:
        if not has_time(complete[-1].seconds if complete else GROWTH * partial[-1].seconds):
            break
        complete.append(time_step(trainer, schedule, step, flops))
    trainer.schedule = schedule
    return fit_steps(first, partial, complete)


def fit_steps(
    first: StepTiming, partial: list[StepTiming], complete: list[StepTiming]
) -> StepCosts:
    """Fit the costs of a step to timed steps.

    The first step of one row and the first full step are slower, because they allocate memory and
    select kernels; the additional time is the warm-up. With enough full steps, only they count;
    with a few, the largest of the others as well.

    Args:
        first: The first step of one row.
        partial: Later steps, of one row and of more and more rows.
        complete: Full steps, in the order in which they were timed.
    """
    warm_up = first.seconds - partial[0].seconds
    timed = partial + complete
    if len(complete) > 1:
        others = [timing.seconds for timing in complete[1:]]
        warm_up += max(0.0, complete[0].seconds - float(np.median(others)))
        timed = complete[1:] if len(complete) > MIN_STEPS else [partial[-1], *complete[1:]]
    amounts = np.array([(1.0, each.micro_batches, each.flop) for each in timed])
    costs = fit_costs(amounts, np.array([each.seconds for each in timed])).tolist()
    largest = max(each.largest for each in partial + complete)
    return StepCosts(*costs, max(0.0, warm_up), len(timed), largest)


def time_step(trainer: Trainer, schedule: BatchSchedule, step: int, flops: Flops) -> StepTiming:
    """Time one step of a schedule."""
    trainer.schedule, trainer.progress.step = schedule, step
    log = RunLog(None, 1, 1, Console(quiet=True), lambda figures, step: None)
    started = time.perf_counter()
    trainer.train_step(log)
    seconds = time.perf_counter() - started
    micro_batches, workload = workload_of(schedule, step)
    return StepTiming(seconds, micro_batches, flops.total(workload), schedule.largest_size(step))


def relative_seconds(
    loss: SupervisedLoss,
    schedule: BatchSchedule,
    settings: Train,
    precisions: tuple[str, str],
    allowed: float,
) -> float:
    """Seconds of a forward and backward pass in the second precision, as a multiple of those in the
    first: of one row, then of more and more rows, as long as time is left.

    Args:
        loss: The loss of the model, in float32.
        schedule: The schedule whose rows are passed.
        settings: The `train` section of the recipe.
        precisions: Two mixed precisions: no, bf16 or fp16.
        allowed: Time limit in seconds.
    """
    deadline, num_rows, factor = time.perf_counter() + allowed, 1, 1.0
    while True:
        few_rows = settings.model_copy(update={"global_batch_size": num_rows})
        batch = schedule.with_settings(few_rows).micro_batches(0)[0]
        started = time.perf_counter()
        first, second = (time_pass(loss, batch, precision) for precision in precisions)
        factor = second / first
        is_last = num_rows >= len(schedule.rows) or batch.input_ids.numel() >= PRECISION_TOKENS
        if is_last or deadline - time.perf_counter() < GROWTH * (time.perf_counter() - started):
            return factor
        num_rows *= GROWTH


def time_pass(loss: SupervisedLoss, batch: Batch, precision: str) -> float:
    """Seconds of a forward and backward pass; the faster of two, since the first allocates."""
    device = next(loss.parameters()).device
    batch = batch.to(device)

    def run() -> None:
        dtype = HALF_PRECISION.get(precision)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            value = loss(batch)
        value.backward()
        if device.type != "cpu":
            torch.accelerator.synchronize()

    seconds = min(seconds_of(run) for _ in range(2))
    loss.zero_grad(set_to_none=True)
    return seconds


def spread(number: int, most: int) -> list[int]:
    """At most `most` evenly spaced integers from range(number), in a fixed random order."""
    chosen = evenly_spaced(number, most)
    return [chosen[index] for index in np.random.default_rng(0).permutation(len(chosen))]


def workload_of(schedule: BatchSchedule, step: int) -> tuple[int, Workload]:
    """Number of micro-batches of a step in this process, and the size of its rows."""
    micro_batches = schedule.micro_batch_indices(step)[schedule.rank]
    rows = [row for of_one in micro_batches for row in of_one]
    lengths = [int(schedule.rows.lengths[row]) for row in rows]
    num_supervised = sum(int(schedule.rows.supervised[row]) for row in rows)
    return len(micro_batches), Workload.of_rows(lengths, num_supervised)


@dataclass(frozen=True)
class MeanStep:
    """Mean size of the steps of a schedule."""

    micro_batches: float
    workload: Workload
    largest: int
    """Tokens in the largest micro-batch of any step."""


def mean_step(schedule: BatchSchedule) -> MeanStep:
    """The mean size of NUM_SAMPLED steps."""
    steps = spread(schedule.num_steps, NUM_SAMPLED)
    found = [workload_of(schedule, step) for step in steps]
    rows = [(number, each.tokens, each.pairs, each.supervised) for number, each in found]
    micro_batches, *totals = np.mean(rows, 0).tolist()
    largest = max(schedule.largest_size(step) for step in steps)
    return MeanStep(micro_batches, Workload(*totals), largest)


@dataclass(frozen=True)
class RowCosts:
    """Cost model of an operation on rows, in seconds."""

    timed: dict[int, float]
    """Seconds by number of rows, without the additional seconds of the first call."""
    at_once: int
    """Number of rows that are processed together. More rows are processed in groups of this size,
    and each group costs the same."""
    first: float = 0.0
    """Additional seconds of the first call."""

    @property
    def num_timed(self) -> int:
        """Largest number of rows that was timed."""
        return max(self.timed)

    def seconds(self, num_rows: int) -> float:
        """Seconds for this many rows, without the additional seconds of the first call: between two
        timed numbers of rows by interpolation, beyond them by a cost per call and a cost per row
        that are fitted to the largest two; a single one is taken as the cost per row."""
        if num_rows > self.at_once:
            return self.seconds(self.at_once) * num_rows / self.at_once
        sizes = sorted(self.timed)
        if num_rows <= sizes[-1]:
            return float(np.interp(num_rows, sizes, [self.timed[size] for size in sizes]))
        if len(sizes) == 1:
            return self.timed[sizes[0]] * num_rows / sizes[0]
        amounts = np.array([[1.0, size] for size in sizes[-2:]])
        seconds = np.array([self.timed[size] for size in sizes[-2:]])
        return float([1.0, num_rows] @ fit_costs(amounts, seconds))


def time_rows(
    prepare: Callable[[int], Callable[[], object]],
    num_rows: int,
    at_once: int,
    allowed: float,
    least: int = 1,
    *,
    is_sublinear: bool = False,
) -> RowCosts:
    """Time an operation on a few rows, and then on as many as the remaining time allows.

    Args:
        prepare: Takes a number of rows and returns a function that performs the operation on them.
            Only the returned function is timed.
        num_rows: Total number of rows.
        at_once: Number of rows that are processed together; no more are timed.
        allowed: Time limit in seconds.
        least: Number of rows to begin with.
        is_sublinear: Whether many rows cost far less than their number times the cost of one. They
            are then timed as well, FIRST_GROWTH times as many as first, even if no time is left.
    """
    deadline, most = time.perf_counter() + allowed, min(num_rows, at_once)
    size = min(least, most)
    run = prepare(size)
    first = seconds_of(run)
    timed = {size: seconds_of(run) if first < allowed / 2 else first}
    extra = max(0.0, first - timed[size])
    while size < most:
        left = deadline - time.perf_counter()
        larger = min(most, int(size * left / (1.3 * timed[size])))
        if is_sublinear and len(timed) == 1 and timed[size] < MAX_FIRST * allowed:
            larger = max(larger, min(most, FIRST_GROWTH * size))
        if larger < 1.5 * size:
            break
        size = larger
        timed[size] = seconds_of(prepare(size))
    return RowCosts(timed, at_once, extra)


def seconds_of(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
