"""Estimate the costs of variants of a recipe, on this machine or on a device by its data sheet."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmkit.evaluation.one_pass import reads_rows_once
from llmkit.model.loss import unwrap_model
from llmkit.planning.devices import (
    BANDWIDTH_EFFICIENCY,
    EFFICIENCY,
    SECONDS_PER_BLOCK,
    Device,
)
from llmkit.planning.flops import forward_flops, training_flops
from llmkit.planning.plan import CurvePoint, Plan
from llmkit.planning.predicted_costs import (
    CHECKPOINTS,
    FINAL_SCORES,
    PREPARATION,
    SHARED,
    STATISTICS,
    STEPS,
    VALIDATIONS,
    PredictedCosts,
    count_checkpoints,
)
from llmkit.planning.proposals import (
    CostModel,
    LossModel,
    Rates,
    Schedule,
    cost_model,
    fallback_proposals,
    num_devices_within,
    propose,
)
from llmkit.planning.scaling_law import Trial
from llmkit.planning.variants import RowSizes, Variant, iter_variants
from llmkit.runtime.memory import available_bytes
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.memory import MEMORY_FRACTION
from llmkit.workflows.measure import Measurements, rows_at_once, size_of
from llmkit.workflows.predict import LIBRARIES, cached_row_bytes
from llmkit.workflows.probes import MeanStep
from llmkit.workflows.training_setup import TrainingSetup

CUDA_BYTES = 0.6e9  # memory of the CUDA context and its libraries
NUM_POINTS = 33  # of the loss curve
CURVE_SPAN = (1 / 16, 8)  # of the loss curve, in lengths of the run; starts at the shorter trial
DISK_RATE = 5e8  # assumed bytes per second of checkpoints on another machine


@dataclass(frozen=True)
class Machine:
    """The machine that costs are estimated for."""

    device_type: str
    """Device type: cpu or cuda."""
    precisions: tuple[str, ...]
    """Supported precisions, the one that the recipe uses there first."""
    rates: Rates
    memory_budget: float
    """Bytes available to the training, without the libraries."""
    base_bytes: int
    """Memory of the libraries in bytes."""
    sheet: Device | None
    """Data sheet; None: this machine, at its measured speed."""
    scoring: tuple[float, float] = (0.0, 0.0)
    """Measured seconds of one validation and of the final scores of the recipe's model."""


def this_machine(
    setup: TrainingSetup,
    measured: Measurements,
    step: MeanStep,
    prediction: PredictedCosts,
    memory: int | None,
) -> Machine:
    """This machine, at the speed of the timed steps."""
    kind = setup.accelerator.device.type
    precision = setup.accelerator.mixed_precision
    flops = training_flops(setup.model, checkpointing=setup.memory.activation_checkpointing)
    flop = flops.total(step.workload)
    seconds = measured.steps.seconds(step.micro_batches, flop)
    base = prediction.memory.get(LIBRARIES, int(CUDA_BYTES))
    weights = setup.memory.usage.weights
    free = weights + MEMORY_FRACTION.get(kind, MEMORY_FRACTION["cpu"]) * available_bytes(
        setup.accelerator.device
    )
    saved = measured.checkpoint_bytes + measured.model_bytes
    relative = {precision: 1.0, **measured.relative_seconds}
    rates = Rates(
        per_flop={name: factor * seconds / flop for name, factor in relative.items()},
        per_step=0.0,
        per_micro_batch=0.0,
        per_saved_byte=(measured.checkpoint_seconds + measured.model_seconds) / saved,
        fixed=prediction.seconds[PREPARATION]
        + measured.steps.warm_up
        + prediction.seconds[STATISTICS],
    )
    memory_budget = free if memory is None else memory - base
    validation = prediction.seconds[VALIDATIONS] / prediction.num_validations
    scoring = validation, prediction.seconds[FINAL_SCORES]
    return Machine(kind, (*relative,), rates, memory_budget, base, None, scoring)


def machine_from_datasheet(
    device: Device, setup: TrainingSetup, measured: Measurements, memory: int | None
) -> Machine:
    """A device, at the assumed fraction of the peak rates in its data sheet."""
    requested = setup.recipe.train.mixed_precision
    precision = requested if requested in device.rates else device.precision
    others = (name for name in device.rates if name not in (precision, "no"))
    precisions = (precision, *others)
    blocks = unwrap_model(setup.model).config.num_hidden_layers
    rates = Rates(
        per_flop={name: 1 / (EFFICIENCY * 1e12 * rate) for name, rate in device.rates.items()},
        per_step=blocks * SECONDS_PER_BLOCK,
        per_micro_batch=3 * blocks * SECONDS_PER_BLOCK,
        per_saved_byte=1 / DISK_RATE,
        fixed=measured.setup_seconds,
    )
    limit = MEMORY_FRACTION["cuda"] * device.num_bytes if memory is None else memory
    memory_budget = limit - CUDA_BYTES
    return Machine("cuda", precisions, rates, memory_budget, int(CUDA_BYTES), device)


def schedule_of(setup: TrainingSetup, step: MeanStep) -> Schedule:
    """The schedule of the recipe as written."""
    recipe, schedule = setup.recipe, setup.schedule
    return Schedule(
        schedule.num_steps,
        schedule.steps_per_epoch,
        recipe.evaluation.every,
        step.workload,
        recipe.train.max_steps is not None,
    )


def variants_with_costs(
    machine: Machine, setup: TrainingSetup, step: MeanStep
) -> Iterator[tuple[Variant, CostModel]]:
    """Iterate over all variants of the recipe with their costs on the machine."""
    recipe, schedule = setup.recipe, schedule_of(setup, step)
    config = unwrap_model(setup.model).config
    longest = int(setup.schedule.rows.lengths.max())
    rows = RowSizes(longest, int(step.workload.tokens))
    for variant in iter_variants(
        recipe.model, recipe.train, config, rows, machine.device_type, machine.precisions,
        machine.memory_budget,
    ):  # fmt: skip
        scoring = scoring_seconds(machine, setup, variant, step)
        yield variant, cost_model(variant, machine.rates, schedule, scoring)


def scoring_seconds(
    machine: Machine, setup: TrainingSetup, variant: Variant, step: MeanStep
) -> tuple[float, float]:
    """Seconds of one validation and of the final scores of a variant.

    On this machine, they are proportional to the FLOPs of the forward pass and to the seconds per
    FLOP in the precision; on another device, they follow from its data sheet.
    """
    if machine.sheet is None:
        flop = forward_flops(setup.model).total(step.workload)
        rates = machine.rates.per_flop
        rate = rates[variant.precision] / rates[machine.precisions[0]]
        ratio = rate * variant.scoring.total(step.workload) / flop
        validation, final = machine.scoring
        return ratio * validation, ratio * final
    seconds = {name: set_seconds(machine, setup, variant, name) for name in setup.rows.scored}
    tests = sum(seconds[name] for name in setup.rows.tests)
    return seconds["validation"], 2 * tests  # of the tuned and the untuned model


def set_seconds(machine: Machine, setup: TrainingSetup, variant: Variant, name: str) -> float:
    """Seconds to score a set on a device: one forward pass for the loss, another for the prompts
    where it cannot be shared, and one per new token of each group of rows that are generated
    together."""
    rows, sheet = setup.rows.scored[name], machine.sheet
    tokens = sum(map(len, rows.encoded["input_ids"]))
    forward = variant.scoring.per_token * tokens
    rate = EFFICIENCY * 1e12 * sheet.rates[variant.precision]
    if rows.task.output == "text":
        return forward / rate
    recipe = setup.recipe
    is_shared = reads_rows_once(
        rows.task.output, recipe.generation, setup.evaluator.forward, variant.precision
    )
    seconds = (1 if is_shared else 2) * forward / rate
    if rows.task.output == "label":
        return seconds
    blocks = unwrap_model(setup.model).config.num_hidden_layers
    bytes_read = variant.num_weights * (4 if variant.precision == "no" else 2)
    per_token = max(
        blocks * SECONDS_PER_BLOCK, bytes_read / (BANDWIDTH_EFFICIENCY * 1e9 * sheet.bandwidth)
    )
    groups = math.ceil(size_of(rows) / rows_at_once(setup, rows))
    return seconds + groups * recipe.generation.max_new_tokens * per_token


def predict_on_device(
    machine: Machine, setup: TrainingSetup, measured: Measurements, step: MeanStep
) -> PredictedCosts:
    """Predict the costs of the recipe as written on a device that is not this machine."""
    schedule = schedule_of(setup, step)
    variant, costs = next(variants_with_costs(machine, setup, step))
    validation, final = scoring_seconds(machine, setup, variant, step)
    num_validations = schedule.num_validations(schedule.num_steps)
    steps = schedule.num_steps * costs.per_step
    checkpoint = setup.recipe.checkpoint
    num_checkpoints = count_checkpoints(
        schedule.num_steps, num_validations, checkpoint.every, checkpoint.minutes,
        steps + num_validations * validation,
    )  # fmt: skip
    sheet = machine.sheet
    seconds = {
        f"{PREPARATION} (measured on this machine)": measured.setup_seconds,
        STEPS: steps,
        VALIDATIONS: num_validations * validation,
        CHECKPOINTS: machine.rates.per_saved_byte
        * (num_checkpoints * variant.usage.checkpoint + num_validations * variant.model_bytes),
        FINAL_SCORES: final,
    }
    rate = sheet.rates[variant.precision]
    notes = [
        f"estimated from the data sheet of {sheet.name}, without a measurement on it: "
        f"{sheet.gigabytes} GB, and {rate:g} TFLOP/s in "
        f"{'float32' if variant.precision == 'no' else variant.precision}, of which "
        f"{EFFICIENCY:.0%} are assumed to be reached"
    ]
    keep = min(checkpoint.keep + 1, num_checkpoints)
    memory = {"CUDA libraries": int(CUDA_BYTES), **variant.usage.parts(variant.tokens)}
    disk = {
        "checkpoints": keep * variant.usage.checkpoint,
        "model": variant.model_bytes,
        "encoded rows in the cache": cached_row_bytes(setup),
    }
    return PredictedCosts(
        f"estimated for {sheet.name}", seconds, memory, disk, schedule.num_steps, num_validations,
        num_checkpoints, notes,
    )  # fmt: skip


def full_run_steps(plan: Plan, machine: Machine, setup: TrainingSetup, step: MeanStep) -> int:
    """Number of steps of the recipe's model within the time budget; without a budget, the number of
    steps of the recipe."""
    schedule = schedule_of(setup, step)
    if plan.budget is None:
        return schedule.num_steps
    _, costs = next(variants_with_costs(machine, setup, step))
    return max(1, costs.steps_within(plan.budget, schedule))


def with_proposals(
    plan: Plan,
    machine: Machine,
    setup: TrainingSetup,
    step: MeanStep,
    trials: Sequence[Trial] = (),
) -> Plan:
    """Add the expected loss by run length and the proposals for the budget to a plan."""
    schedule = schedule_of(setup, step)
    variants = list(variants_with_costs(machine, setup, step))
    recipe_variant, recipe_costs = variants[0]
    loss_model = LossModel(recipe_variant.num_weights, schedule)
    if trials:
        loss_model = loss_model.with_trials(trials, full_run_steps(plan, machine, setup, step))
        plan = replace(plan, loss=loss_model.loss(loss_model.num_weights, schedule.num_steps))
    plan = replace(plan, trials=list(trials), curve=curve_of(recipe_costs, schedule, loss_model))
    prediction, budget = plan.prediction, plan.budget
    is_in_time = budget is None or prediction.total_seconds <= budget
    is_in_memory = prediction.peak_bytes <= machine.memory_budget + machine.base_bytes
    plan = replace(plan, fits=is_in_time and is_in_memory)
    if budget is None and plan.memory is None and machine.sheet is None:
        return plan
    bounds = (schedule, loss_model, budget, machine.memory_budget, machine.base_bytes)
    proposals = propose(variants, plan.task, *bounds)
    fastest, least_memory = (None, None) if proposals else fallback_proposals(variants, *bounds)
    plan = replace(plan, proposals=proposals, fastest=fastest, least_memory=least_memory)
    if is_in_time or not is_in_memory or machine.device_type != "cuda":
        return plan
    return replace(plan, num_devices=num_devices(prediction, budget, setup.schedule))


def num_devices(prediction: PredictedCosts, budget: float, schedule: BatchSchedule) -> int | None:
    """Approximate number of devices on which the recipe as written fits a time budget; None if no
    number does. Each needs at least one row of a step."""
    shared = sum(prediction.seconds[part] for part in SHARED)
    fixed = prediction.total_seconds - shared
    number = num_devices_within(budget, prediction.total_seconds, fixed)
    return None if number is None or number > schedule.global_batch_size else number


def curve_of(costs: CostModel, schedule: Schedule, loss_model: LossModel) -> list[CurvePoint]:
    """Expected loss of the recipe's model at run lengths around those of the recipe and of the full
    run of the forecast."""
    lengths = (schedule.num_steps, loss_model.full_run_steps or schedule.num_steps)
    steps = np.geomspace(min(lengths) * CURVE_SPAN[0], max(lengths) * CURVE_SPAN[1], NUM_POINTS)
    return [
        CurvePoint(
            number,
            costs.seconds(number, schedule),
            *loss_model.loss(loss_model.num_weights, number),
        )
        for number in sorted({max(1, round(each)) for each in steps.tolist()})
    ]
