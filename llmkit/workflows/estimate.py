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
from llmkit.planning.flops import forward_flops
from llmkit.planning.plan import CurvePoint, Plan
from llmkit.planning.predicted_costs import (
    CHECKPOINTS,
    FINAL_SCORES,
    PREPARATION,
    SHARED,
    STEPS,
    VALIDATIONS,
    PredictedCosts,
    count_checkpoints,
)
from llmkit.planning.proposals import (
    CostModel,
    LossModel,
    Schedule,
    cost_model,
    fallback_proposals,
    num_devices_within,
    propose,
)
from llmkit.planning.scaling_law import Trial
from llmkit.planning.variants import RowSizes, Variant, iter_variants
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.workflows.machine import CUDA_BYTES, Machine
from llmkit.workflows.measure import Measurements, rows_at_once, size_of
from llmkit.workflows.predict import cached_row_bytes, num_kept
from llmkit.workflows.probes import MeanStep
from llmkit.workflows.training_setup import TrainingSetup

NUM_POINTS = 33  # of the loss curve
CURVE_SPAN = (1 / 16, 8)  # of the loss curve, in lengths of the run; starts at the shorter trial


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


@dataclass(frozen=True)
class Estimator:
    """Estimates the costs of the variants of a recipe on a machine."""

    machine: Machine
    setup: TrainingSetup
    """The recipe, prepared on this machine."""
    step: MeanStep
    """Mean size of its steps."""

    @property
    def schedule(self) -> Schedule:
        return schedule_of(self.setup, self.step)

    def variants(self) -> Iterator[tuple[Variant, CostModel]]:
        """Iterate over all variants with their costs, the recipe as written first."""
        recipe, machine = self.setup.recipe, self.machine
        config = unwrap_model(self.setup.model).config
        longest = int(self.setup.schedule.rows.lengths.max())
        rows = RowSizes(longest, int(self.step.workload.tokens))
        for variant in iter_variants(
            recipe.model, recipe.train, config, rows, machine.device_type, machine.precisions,
            machine.memory_budget,
        ):  # fmt: skip
            scoring = self.scoring_seconds(variant)
            yield variant, cost_model(variant, machine.rates, self.schedule, scoring)

    def scoring_seconds(self, variant: Variant) -> tuple[float, float]:
        """Seconds of one validation and of the final scores of a variant.

        On this machine, they are proportional to the FLOPs of the forward pass and to the seconds
        per FLOP in the precision; on another device, they follow from its data sheet.
        """
        machine, sheet = self.machine, self.machine.sheet
        if sheet is None:
            flop = forward_flops(self.setup.model).total(self.step.workload)
            rates = machine.rates.per_flop
            rate = rates[variant.precision] / rates[machine.precisions[0]]
            ratio = rate * variant.scoring.total(self.step.workload) / flop
            validation, final = machine.scoring
            return ratio * validation, ratio * final
        rows = self.setup.rows
        seconds = {name: self._set_seconds(sheet, variant, name) for name in rows.scored}
        tests = sum(seconds[name] for name in rows.tests)
        return seconds["validation"], 2 * tests  # of the tuned and the untuned model

    def _set_seconds(self, sheet: Device, variant: Variant, name: str) -> float:
        """Seconds to score a set on a device: one forward pass for the loss, another for the
        prompts where it cannot be shared, and one per new token of each group of rows that are
        generated together."""
        setup, rows = self.setup, self.setup.rows.scored[name]
        tokens = sum(map(len, rows.encoded["input_ids"]))
        forward = variant.scoring.per_token * tokens
        rate = EFFICIENCY * 1e12 * sheet.rates[variant.precision]
        if rows.task.output == "text":
            return forward / rate
        generation = setup.recipe.generation
        is_shared = reads_rows_once(
            rows.task.output, generation, setup.evaluator.forward, variant.precision
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
        return seconds + groups * generation.max_new_tokens * per_token

    def full_run_steps(self, budget: float | None) -> int:
        """Number of steps of the recipe's model within a time budget; without one, the number of
        steps of the recipe."""
        if budget is None:
            return self.schedule.num_steps
        _, costs = next(self.variants())
        return max(1, costs.steps_within(budget, self.schedule))


def predict_on_device(estimator: Estimator, measured: Measurements) -> PredictedCosts:
    """Predict the costs of the recipe as written on a device, from its data sheet."""
    setup, schedule = estimator.setup, estimator.schedule
    sheet, rates = estimator.machine.sheet, estimator.machine.rates
    variant, costs = next(estimator.variants())
    validation, final = estimator.scoring_seconds(variant)
    num_validations = schedule.num_validations(schedule.num_steps)
    steps = schedule.num_steps * costs.per_step
    checkpoint = setup.recipe.checkpoint
    num_checkpoints = count_checkpoints(
        schedule.num_steps, num_validations, checkpoint.every, checkpoint.minutes,
        steps + num_validations * validation,
    )  # fmt: skip
    saved = num_checkpoints * variant.usage.checkpoint + num_validations * variant.model_bytes
    seconds = {
        f"{PREPARATION} (measured on this machine)": measured.setup_seconds,
        STEPS: steps,
        VALIDATIONS: num_validations * validation,
        CHECKPOINTS: rates.per_saved_byte * saved,
        FINAL_SCORES: final,
    }
    disk = {
        "checkpoints": num_kept(checkpoint, num_checkpoints) * variant.usage.checkpoint,
        "model": variant.model_bytes,
        "encoded rows in the cache": cached_row_bytes(setup),
    }
    return PredictedCosts(
        f"estimated for {sheet.name}",
        seconds,
        {"CUDA libraries": int(CUDA_BYTES), **variant.usage.parts(variant.tokens)},
        disk,
        schedule.num_steps,
        num_validations,
        num_checkpoints,
        [sheet_note(sheet, variant.precision)],
    )


def sheet_note(sheet: Device, precision: str) -> str:
    """The assumptions of an estimate from a data sheet."""
    return (
        f"estimated from the data sheet of {sheet.name}, without a measurement on it: "
        f"{sheet.gigabytes} GB, and {sheet.rates[precision]:g} TFLOP/s in "
        f"{'float32' if precision == 'no' else precision}, of which "
        f"{EFFICIENCY:.0%} are assumed to be reached"
    )


def with_proposals(plan: Plan, estimator: Estimator, trials: Sequence[Trial] = ()) -> Plan:
    """Add the expected loss by run length and the proposals for the budget to a plan."""
    machine, schedule = estimator.machine, estimator.schedule
    variants = list(estimator.variants())
    recipe_variant, recipe_costs = variants[0]
    loss_model = LossModel(recipe_variant.num_weights, schedule)
    if trials:
        loss_model = loss_model.with_trials(trials, estimator.full_run_steps(plan.budget))
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
    return replace(plan, num_devices=num_devices(prediction, budget, estimator.setup.schedule))


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
