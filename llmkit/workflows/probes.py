"""Time parts of a run for real, each on as many rows as a few seconds allow."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from llmkit.planning.fit import fit_costs
from llmkit.planning.work import Amounts, Work
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.log import RunLog
from llmkit.training.trainer import Trainer

NUM_STEPS = 48  # at most, of full size; further ones add nothing to the mean
MIN_STEPS = 3  # of full size that tell more than those of fewer rows
NUM_SAMPLED = 256  # steps whose work stands for that of all
GROWTH = 4  # from one number of rows to the next that is timed


@dataclass(frozen=True)
class StepCosts:
    """Seconds of an optimizer step, by what it consists of."""

    per_step: float
    per_micro_batch: float
    per_flop: float
    warm_up: float
    """What the first step takes longer than a later one."""
    num_timed: int
    """Steps that were timed."""
    largest_timed: int
    """Tokens of the largest micro-batch among them."""

    def seconds(self, num_micro_batches: float, flop: float) -> float:
        """Seconds of a step after the first."""
        return self.per_step + self.per_micro_batch * num_micro_batches + self.per_flop * flop


@dataclass(frozen=True)
class StepTiming:
    """A step that was timed."""

    seconds: float
    micro_batches: int
    flop: float
    largest: int
    """Tokens of its largest micro-batch."""


def time_steps(trainer: Trainer, work: Work, allowed: float) -> StepCosts:
    """Time optimizer steps: of one row, of more and more rows, and then of the schedule's own, as
    long as time is left. The weights change.

    work: That of the trainer's model, as it is trained.
    allowed: Seconds.
    """
    whole, deadline = trainer.schedule, time.perf_counter() + allowed

    def has_time(seconds: float) -> bool:
        return deadline - time.perf_counter() > seconds

    def with_rows(number: int) -> BatchSchedule:
        return whole.with_settings(
            trainer.settings.model_copy(update={"global_batch_size": number})
        )

    one_row, num_rows = with_rows(1), GROWTH
    first = time_step(trainer, one_row, 0, work)
    partial = [time_step(trainer, one_row, 0, work) if has_time(first.seconds) else first]
    while num_rows < whole.global_batch_size and has_time(GROWTH * partial[-1].seconds):
        partial.append(time_step(trainer, with_rows(num_rows), 0, work))
        num_rows *= GROWTH
    complete: list[StepTiming] = []
    steps = spread(whole.num_steps, NUM_STEPS) if num_rows >= whole.global_batch_size else []
    for step in steps:
        if not has_time(complete[-1].seconds if complete else GROWTH * partial[-1].seconds):
            break
        complete.append(time_step(trainer, whole, step, work))
    trainer.schedule = whole
    # Where memory is allocated and kernels are chosen, a step is slower: the first of one row, and
    # the first complete one.
    warm_up = first.seconds - partial[0].seconds
    timed = partial + complete
    if len(complete) > MIN_STEPS:
        others = [timing.seconds for timing in complete[1:]]
        warm_up += max(0.0, complete[0].seconds - float(np.median(others)))
        timed = complete[1:]
    amounts = np.array([(1.0, each.micro_batches, each.flop) for each in timed])
    costs = fit_costs(amounts, np.array([each.seconds for each in timed])).tolist()
    largest = max(each.largest for each in partial + complete)
    return StepCosts(*costs, max(0.0, warm_up), len(timed), largest)


def time_step(trainer: Trainer, schedule: BatchSchedule, step: int, work: Work) -> StepTiming:
    """Take a step of a schedule with the trainer."""
    trainer.schedule, trainer.progress.step = schedule, step
    log = RunLog(None, 1, 1, Console(quiet=True), lambda figures, step: None)
    started = time.perf_counter()
    trainer.train_step(log)
    seconds = time.perf_counter() - started
    micro_batches, amounts = amounts_of(schedule, step)
    return StepTiming(seconds, micro_batches, work.of(amounts), schedule.largest_size(step))


def spread(number: int, most: int) -> list[int]:
    """At most so many of the numbers below `number`, evenly spaced, in a random but fixed order."""
    count = min(number, most)
    chosen = [index * number // count for index in range(count)]
    return [chosen[index] for index in np.random.default_rng(0).permutation(count)]


def amounts_of(schedule: BatchSchedule, step: int) -> tuple[int, Amounts]:
    """The micro-batches of a step of this process, and what its work grows with."""
    micro_batches = schedule.micro_batch_indices(step)[schedule.rank]
    rows = [row for of_one in micro_batches for row in of_one]
    lengths = [int(schedule.rows.lengths[row]) for row in rows]
    num_supervised = sum(int(schedule.rows.supervised[row]) for row in rows)
    return len(micro_batches), Amounts.of_rows(lengths, num_supervised)


@dataclass(frozen=True)
class MeanStep:
    """What a step of a schedule consists of, on average over the schedule."""

    micro_batches: float
    amounts: Amounts
    largest: int
    """Tokens of the largest micro-batch of any step."""


def mean_step(schedule: BatchSchedule) -> MeanStep:
    """The mean of NUM_SAMPLED steps."""
    steps = spread(schedule.num_steps, NUM_SAMPLED)
    found = [amounts_of(schedule, step) for step in steps]
    rows = [(number, each.tokens, each.pairs, each.supervised) for number, each in found]
    micro_batches, *amounts = np.mean(rows, 0).tolist()
    largest = max(schedule.largest_size(step) for step in steps)
    return MeanStep(micro_batches, Amounts(*amounts), largest)


@dataclass(frozen=True)
class RowCosts:
    """Seconds of something that is done with a number of rows."""

    fixed: float
    per_row: float
    at_once: int
    """Rows that are worked on together; of more rows, each such group costs as much."""
    num_timed: int = 0
    """The most rows that were timed."""
    first: float = 0.0
    """What the first time takes longer than later ones."""

    def seconds(self, num_rows: int) -> float:
        """Seconds for so many rows, not for the first time."""
        if num_rows <= self.at_once:
            return self.fixed + self.per_row * num_rows
        return (self.fixed + self.per_row * self.at_once) * num_rows / self.at_once


def time_rows(
    prepare: Callable[[int], Callable[[], object]],
    num_rows: int,
    at_once: int,
    allowed: float,
    least: int = 1,
) -> RowCosts:
    """Time something on a few rows, and then on as many as time is left for.

    Args:
        prepare: Returns what does it with the first so many rows; this itself is not timed.
        num_rows: All of them.
        at_once: Rows that are worked on together: no more are timed.
        allowed: Seconds.
        least: Rows to begin with.
    """
    deadline, most = time.perf_counter() + allowed, min(num_rows, at_once)
    sizes = [min(least, most)]
    run = prepare(sizes[0])
    first = seconds_of(run)
    seconds = [seconds_of(run) if first < allowed / 2 else first]
    while sizes[-1] < most:
        left = deadline - time.perf_counter()
        size = min(most, int(sizes[-1] * left / (1.3 * seconds[-1])))
        if size < 1.5 * sizes[-1]:
            break
        sizes.append(size)
        seconds.append(seconds_of(prepare(size)))
    last = slice(-2, None)  # the largest tell most about all rows
    amounts = np.array([[1.0, size] for size in sizes[last]])
    fixed, per_row = fit_costs(amounts, np.array(seconds[last])).tolist()
    return RowCosts(fixed, per_row, at_once, sizes[-1], max(0.0, first - seconds[0]))


def seconds_of(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def folder_bytes(paths: Iterable[Path]) -> int:
    """Bytes of the files below these folders."""
    return sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file())
