"""Reckon what variants of a recipe take: on this machine, or on a device by its data sheet."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmkit.model.load import count_parameters
from llmkit.model.loss import unwrap_model
from llmkit.planning.candidates import Rows, Variant, variants
from llmkit.planning.devices import (
    BANDWIDTH_EFFICIENCY,
    EFFICIENCY,
    SECONDS_PER_BLOCK,
    Device,
)
from llmkit.planning.plan import CurvePoint, Plan
from llmkit.planning.prediction import Prediction, count_checkpoints
from llmkit.planning.proposals import (
    Costs,
    Outlook,
    Rates,
    Schedule,
    costs_of,
    devices_within,
    propose,
    smallest,
)
from llmkit.planning.scaling_law import Trial
from llmkit.planning.work import forward_work, training_work
from llmkit.runtime.memory import available_bytes
from llmkit.training.memory import MEMORY_FRACTION
from llmkit.workflows.measure import Measurements, rows_at_once, size_of
from llmkit.workflows.probes import MeanStep
from llmkit.workflows.training_setup import TrainingSetup

CUDA_BYTES = 0.6e9  # of the CUDA context and its libraries
NUM_POINTS, CURVE_REACH = 33, 32  # of the curve: from this part of a run on
DISK_RATE = 5e8  # bytes per second, of checkpoints on a machine that is not this one


@dataclass(frozen=True)
class Machine:
    """Where variants are reckoned for."""

    device_type: str
    precisions: tuple[str, ...]
    """The recipe's first."""
    rates: Rates
    room: float
    """Bytes for the training, without the libraries."""
    base_bytes: int
    """Bytes of the libraries."""
    sheet: Device | None
    scoring: tuple[float, float] = (0.0, 0.0)
    """Measured seconds of a validation, and of the final scores, of the recipe's own model."""


def machine_here(
    setup: TrainingSetup,
    found: Measurements,
    step: MeanStep,
    prediction: Prediction,
    memory: int | None,
) -> Machine:
    """This machine, at the rate of the steps that were timed."""
    kind = setup.accelerator.device.type
    precision = setup.accelerator.mixed_precision
    work = training_work(setup.model, checkpointing=setup.memory.activation_checkpointing)
    flop = work.of(step.amounts)
    seconds = found.steps.seconds(step.micro_batches, flop)
    parts = prediction.memory
    base = parts.get("libraries, rows and reserve", int(CUDA_BYTES))
    weights = setup.memory.use.weights
    free = weights + MEMORY_FRACTION.get(kind, MEMORY_FRACTION["cpu"]) * available_bytes(
        setup.accelerator.device
    )
    saved = found.checkpoint_bytes + found.model_bytes
    rates = Rates(
        per_flop={precision: seconds / flop},
        per_step=0.0,
        per_micro_batch=0.0,
        per_saved_byte=(found.checkpoint_seconds + found.model_seconds) / saved,
        fixed=prediction.seconds["preparation"]
        + found.steps.warm_up
        + prediction.seconds["statistics"],
    )
    room = free if memory is None else memory - base
    validation = prediction.seconds["validations"] / prediction.num_validations
    scoring = validation, prediction.seconds["final scores"]
    return Machine(kind, (precision,), rates, room, base, None, scoring)


def machine_of(
    device: Device, setup: TrainingSetup, found: Measurements, memory: int | None
) -> Machine:
    """A device, at a stated part of the rates of its data sheet."""
    asked = setup.recipe.train.mixed_precision
    own = asked if asked in device.rates else device.precision
    precisions = (own, *(name for name in device.rates if name not in (own, "no")))
    blocks = unwrap_model(setup.model).config.num_hidden_layers
    rates = Rates(
        per_flop={name: 1 / (EFFICIENCY * 1e12 * rate) for name, rate in device.rates.items()},
        per_step=blocks * SECONDS_PER_BLOCK,
        per_micro_batch=3 * blocks * SECONDS_PER_BLOCK,
        per_saved_byte=1 / DISK_RATE,
        fixed=found.setup_seconds,
    )
    limit = MEMORY_FRACTION["cuda"] * device.num_bytes if memory is None else memory
    room = limit - CUDA_BYTES
    return Machine("cuda", precisions, rates, room, int(CUDA_BYTES), device)


def schedule_of(setup: TrainingSetup, step: MeanStep) -> Schedule:
    recipe, schedule = setup.recipe, setup.schedule
    return Schedule(
        schedule.num_steps,
        schedule.steps_per_epoch,
        recipe.evaluation.every,
        step.amounts,
        recipe.train.max_steps is not None,
    )


def variants_here(
    machine: Machine, setup: TrainingSetup, step: MeanStep
) -> Iterator[tuple[Variant, Costs]]:
    """All variants of the recipe with their costs on the machine."""
    recipe, schedule = setup.recipe, schedule_of(setup, step)
    config = unwrap_model(setup.model).config
    longest = int(setup.schedule.rows.lengths.max())
    rows = Rows(longest, int(step.amounts.tokens))
    for variant in variants(
        recipe.model, recipe.train, config, rows, machine.device_type, machine.precisions,
        machine.room,
    ):  # fmt: skip
        scoring = scoring_seconds(machine, setup, variant, step)
        yield variant, costs_of(variant, machine.rates, schedule, scoring)


def scoring_seconds(
    machine: Machine, setup: TrainingSetup, variant: Variant, step: MeanStep
) -> tuple[float, float]:
    """Seconds of a validation and of the final scores of a variant: here in proportion to its
    forward pass; on another device by its rates."""
    if machine.sheet is None:
        own = forward_work(setup.model).of(step.amounts)
        share = variant.scoring.of(step.amounts) / own
        validation, final = machine.scoring
        return share * validation, share * final
    seconds = {name: set_seconds(machine, setup, variant, name) for name in setup.rows.scored}
    tests = sum(seconds[name] for name in setup.rows.tests)
    return seconds["validation"], 2 * tests  # of the tuned and the untuned model


def set_seconds(machine: Machine, setup: TrainingSetup, variant: Variant, name: str) -> float:
    """Seconds to score a set on a device: a forward pass for the loss, one for the prompts, and one
    for each new token of the rows that run together."""
    rows, sheet = setup.rows.scored[name], machine.sheet
    tokens = sum(map(len, rows.encoded["input_ids"]))
    forward = variant.scoring.per_token * tokens
    rate = EFFICIENCY * 1e12 * sheet.rates[variant.precision]
    if rows.task.output == "text":
        return forward / rate
    seconds = 2 * forward / rate
    if rows.task.output == "label":
        return seconds
    blocks = unwrap_model(setup.model).config.num_hidden_layers
    bytes_read = variant.num_weights * (4 if variant.precision == "no" else 2)
    per_token = max(
        blocks * SECONDS_PER_BLOCK, bytes_read / (BANDWIDTH_EFFICIENCY * 1e9 * sheet.bandwidth)
    )
    groups = math.ceil(size_of(rows) / rows_at_once(setup, rows))
    return seconds + groups * setup.recipe.generation.max_new_tokens * per_token


def predict_for(
    machine: Machine, setup: TrainingSetup, found: Measurements, step: MeanStep
) -> Prediction:
    """The prediction of the recipe as it is written, on a device that is not this machine."""
    schedule = schedule_of(setup, step)
    variant, costs = next(variants_here(machine, setup, step))
    validation, final = scoring_seconds(machine, setup, variant, step)
    number = schedule.num_validations(schedule.num_steps)
    steps = schedule.num_steps * costs.per_step
    checkpoint = setup.recipe.checkpoint
    num_checkpoints = count_checkpoints(
        schedule.num_steps, number, checkpoint.every, checkpoint.minutes,
        steps + number * validation,
    )  # fmt: skip
    sheet = machine.sheet
    saved = 4 * (2 * sum(count_parameters(setup.model)))
    seconds = {
        "preparation (measured on this machine)": found.setup_seconds,
        "optimizer steps": steps,
        "validations": number * validation,
        "checkpoints": num_checkpoints * machine.rates.per_saved_byte * variant.saved_bytes,
        "final scores": final,
    }
    rate = sheet.rates[variant.precision]
    notes = [
        f"{sheet.name} by its data sheet: {rate:g} TFLOP/s in "
        f"{'float32' if variant.precision == 'no' else variant.precision}, of which "
        f"{EFFICIENCY:.0%} are assumed, and {sheet.gigabytes} GB; nothing was timed there"
    ]
    keep = min(checkpoint.keep + 1, num_checkpoints)
    memory = {"CUDA libraries": int(CUDA_BYTES), **variant.use.parts(variant.tokens)}
    disk = {"checkpoints": keep * saved, "model": variant.num_weights * 4}
    return Prediction(
        f"reckoned for {sheet.name}", seconds, memory, disk, schedule.num_steps, number,
        num_checkpoints, notes,
    )  # fmt: skip


def whole_steps(plan: Plan, machine: Machine, setup: TrainingSetup, step: MeanStep) -> int:
    """The steps that the budget allows the recipe's own model; without one, the recipe's."""
    schedule = schedule_of(setup, step)
    if plan.budget is None:
        return schedule.num_steps
    _, costs = next(variants_here(machine, setup, step))
    return max(1, costs.steps_within(plan.budget, schedule))


def with_proposals(
    plan: Plan,
    machine: Machine,
    setup: TrainingSetup,
    step: MeanStep,
    trials: Sequence[Trial] = (),
) -> Plan:
    """The plan with the loss to expect over the length of the run, and proposals for its budget."""
    schedule = schedule_of(setup, step)
    found = list(variants_here(machine, setup, step))
    outlook = Outlook(found[0][0].num_weights, schedule)
    if trials:
        outlook = outlook.with_trials(trials, whole_steps(plan, machine, setup, step))
    plan = replace(plan, trials=list(trials), curve=curve_of(found[0][1], schedule, outlook))
    peak = plan.prediction.peak_bytes
    is_in_time = plan.budget is None or plan.prediction.total_seconds <= plan.budget
    fits = is_in_time and peak <= machine.room + machine.base_bytes
    if plan.budget is None and plan.memory is None and machine.sheet is None:
        return replace(plan, fits=fits)
    bounds = (schedule, outlook, plan.budget, machine.room, machine.base_bytes)
    proposals = propose(found, plan.task, *bounds)
    quickest, lightest = (None, None) if proposals else smallest(found, *bounds)
    plan = replace(plan, fits=fits, proposals=proposals, quickest=quickest, lightest=lightest)
    if plan.budget is None or quickest is None or machine.device_type != "cuda":
        return plan
    number = devices_within(plan.budget, quickest.seconds, machine.rates.fixed)
    return replace(plan, num_devices=number)


def curve_of(costs: Costs, schedule: Schedule, outlook: Outlook) -> list[CurvePoint]:
    """The loss of the recipe's own model at lengths around the recipe's and the whole run's."""
    lengths = (schedule.num_steps, outlook.whole_steps or schedule.num_steps)
    steps = np.geomspace(min(lengths) / CURVE_REACH, max(lengths) * CURVE_REACH / 4, NUM_POINTS)
    return [
        CurvePoint(
            number, costs.seconds(number, schedule), *outlook.loss(outlook.num_weights, number)
        )
        for number in sorted({max(1, round(each)) for each in steps.tolist()})
    ]
