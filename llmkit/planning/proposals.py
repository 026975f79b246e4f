"""Propose the variants of a recipe that make the best use of a time and memory budget."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.planning.flops import Workload
from llmkit.planning.predicted_costs import count_validations
from llmkit.planning.scaling_law import CHINCHILLA, Forecast, Trial, effective_tokens, forecast
from llmkit.planning.variants import Variant

NUM_SHOWN = 6
PARALLEL_EFFICIENCY = 0.9  # of several devices, which also exchange gradients
MAX_DEVICES = 64
MAX_EPOCHS = {"pretrain": 16.0}  # repeating the text more often hardly improves the loss
DEFAULT_MAX_EPOCHS = 4.0  # other tasks have few supervised tokens per row and overfit


@dataclass(frozen=True)
class Rates:
    """Speed of a machine for a recipe, in seconds per unit."""

    per_flop: dict[str, float]
    """Seconds per FLOP of training, by precision."""
    per_step: float
    per_micro_batch: float
    per_saved_byte: float
    fixed: float
    """Seconds of preparation and statistics, which depend only on the rows."""


@dataclass(frozen=True)
class Schedule:
    """Length of a run, and the size of its steps."""

    num_steps: int
    steps_per_epoch: int
    validate_every: int | None
    """The recipe's evaluation.every; None: once per epoch."""
    step: Workload
    """Mean size of a step."""
    is_given_in_steps: bool
    """Whether the recipe sets max_steps instead of epochs."""

    @property
    def epoch_tokens(self) -> float:
        return self.step.tokens * self.steps_per_epoch

    def num_validations(self, num_steps: int) -> int:
        return count_validations(num_steps, self.validate_every or self.steps_per_epoch)


@dataclass(frozen=True)
class CostModel:
    """Cost model of a variant, in seconds."""

    fixed: float
    per_step: float
    per_validation: float
    """Seconds per validation, including the checkpoint after it."""

    def seconds(self, num_steps: int, schedule: Schedule) -> float:
        """Seconds of a run of this many steps."""
        validations = schedule.num_validations(num_steps)
        return self.fixed + num_steps * self.per_step + validations * self.per_validation

    def steps_within(self, budget: float, schedule: Schedule) -> int:
        """Maximum number of steps within a time budget; 0 if none fit."""
        every = schedule.validate_every or schedule.steps_per_epoch
        left = budget - self.fixed - self.per_validation  # the last step is validated as well
        steps = max(0, int(left / (self.per_step + self.per_validation / every)))
        while steps and self.seconds(steps, schedule) > budget:
            steps -= 1
        return steps


@dataclass(frozen=True)
class Proposal:
    """A variant, with a length that fits the budget."""

    changes: dict[str, Any]
    """Recipe keys to override, with their values."""
    num_weights: int
    num_steps: int
    epochs: float
    seconds: float
    num_bytes: int
    loss: tuple[float, float, float]
    """(low, expected, high) loss in nats per token; without trials, all three are the difference
    from the recipe as written."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        low, expected, high = self.loss
        return {
            "changes": self.changes,
            "num_weights": self.num_weights,
            "num_steps": self.num_steps,
            "epochs": round(self.epochs, 3),
            "seconds": round(self.seconds, 1),
            "bytes": self.num_bytes,
            "loss": {"low": low, "expected": expected, "high": high},
        }


@dataclass(frozen=True)
class LossModel:
    """Predicts the loss from model size and run length."""

    num_weights: int
    """Number of weights of the recipe's model."""
    schedule: Schedule
    """Schedule of the recipe as written."""
    forecast: Forecast | None = None
    """Forecast from trials; None: only differences from the recipe as written are known."""
    full_run_steps: int = 0
    """Steps of the full run that the forecast is for."""

    def tokens(self, num_steps: float) -> float:
        """Effective number of unique tokens in this many steps, see `effective_tokens`."""
        seen = num_steps * self.schedule.step.tokens
        return effective_tokens(self.schedule.epoch_tokens, seen)

    def with_trials(self, trials: Sequence[Trial], full_run_steps: int) -> "LossModel":
        """The loss model with a forecast from trials, for a full run of `full_run_steps`."""
        full_run = self.tokens(full_run_steps)
        fractions = [self.tokens(trial.num_steps) / full_run for trial in trials]
        fitted = forecast(fractions, [trial.loss for trial in trials])
        return replace(self, forecast=fitted, full_run_steps=full_run_steps)

    def loss(self, num_weights: int, num_steps: int) -> tuple[float, float, float]:
        """(low, expected, high) loss of a run, see `Proposal.loss`."""
        recipe_tokens, tokens = self.tokens(self.schedule.num_steps), self.tokens(num_steps)
        change = CHINCHILLA.loss(num_weights, tokens) - CHINCHILLA.loss(self.num_weights, tokens)
        if self.forecast is not None:
            losses = self.forecast.at(tokens / self.tokens(self.full_run_steps))
            return tuple(max(0.0, loss + change) for loss in losses)
        recipe_loss = CHINCHILLA.loss(self.num_weights, recipe_tokens)
        change += CHINCHILLA.loss(self.num_weights, tokens) - recipe_loss
        return change, change, change


def cost_model(
    variant: Variant, rates: Rates, schedule: Schedule, scoring: tuple[float, float]
) -> CostModel:
    """Cost model of a variant on a machine.

    scoring: Seconds of one validation and of the final scores.
    """
    micro_batches = max(1.0, schedule.step.tokens / variant.tokens)
    per_step = (
        rates.per_step
        + rates.per_micro_batch * micro_batches
        + rates.per_flop[variant.precision] * variant.training.total(schedule.step)
    )
    validation, final = scoring
    saving = rates.per_saved_byte * (variant.usage.checkpoint + variant.model_bytes)
    return CostModel(rates.fixed + final, per_step, validation + saving)


def propose(
    variants: Iterable[tuple[Variant, CostModel]],
    task: str,
    schedule: Schedule,
    loss_model: LossModel,
    budget: float | None,
    memory_budget: float,
    base_bytes: int,
) -> list[Proposal]:
    """Propose variants that fit the budget, each at its best length, best first.

    Args:
        variants: Variants with their costs.
        task: Name of the task.
        schedule: Schedule of the recipe as written.
        loss_model: Expected loss of each variant.
        budget: Time budget in seconds; None: no limit, and the length of the recipe.
        memory_budget: Bytes available to the training, without the libraries.
        base_bytes: Memory of the libraries in bytes.
    """
    epochs = schedule.num_steps / schedule.steps_per_epoch
    max_epochs = max(epochs, MAX_EPOCHS.get(task, DEFAULT_MAX_EPOCHS))
    max_steps = int(max_epochs * schedule.steps_per_epoch)
    best: dict[tuple, Proposal] = {}
    for variant, costs in variants:
        steps = schedule.num_steps
        if budget is not None:
            steps = min(max_steps, costs.steps_within(budget, schedule))
        if steps < 1 or variant.num_bytes > memory_budget:
            continue
        proposal = make_proposal(variant, costs, steps, schedule, loss_model, base_bytes)
        key = variant.num_weights, variant.changes.get("train.method")
        if key not in best or sort_key(proposal) < sort_key(best[key]):
            best[key] = proposal
    return sorted(best.values(), key=sort_key)[:NUM_SHOWN]


def sort_key(proposal: Proposal) -> tuple[float, bool, float, int]:
    """Sort key of proposals, best first.

    Proposals are sorted by loss; full fine-tuning comes before LoRA, which learns less (Biderman et
    al. 2024, arXiv 2405.09673); then by time and by the number of changed keys.
    """
    is_lora = proposal.changes.get("train.method") == "lora"
    return round(proposal.loss[1], 4), is_lora, round(proposal.seconds), len(proposal.changes)


def make_proposal(
    variant: Variant,
    costs: CostModel,
    num_steps: int,
    schedule: Schedule,
    loss_model: LossModel,
    base_bytes: int,
) -> Proposal:
    """A proposal to train the variant for this many steps."""
    epochs = num_steps / schedule.steps_per_epoch
    changes = dict(variant.changes)
    if num_steps != schedule.num_steps:
        if schedule.is_given_in_steps:
            changes["train.max_steps"] = num_steps
        else:
            epochs = max(1 / schedule.steps_per_epoch, int(1000 * epochs) / 1000)
            num_steps = max(1, round(epochs * schedule.steps_per_epoch))
            changes["train.epochs"] = round(epochs, 3)
    return Proposal(
        changes,
        variant.num_weights,
        num_steps,
        epochs,
        costs.seconds(num_steps, schedule),
        variant.num_bytes + base_bytes,
        loss_model.loss(variant.num_weights, num_steps),
    )


def fallback_proposals(
    variants: Iterable[tuple[Variant, CostModel]],
    schedule: Schedule,
    loss_model: LossModel,
    budget: float | None,
    memory_budget: float,
    base_bytes: int,
) -> tuple[Proposal | None, Proposal | None]:
    """The fastest variant that fits into memory, and the variant that needs the least memory, both
    trained for at most one epoch. Shown if no variant fits the budget."""
    steps = min(schedule.num_steps, schedule.steps_per_epoch)
    made = [
        (variant, make_proposal(variant, costs, steps, schedule, loss_model, base_bytes))
        for variant, costs in variants
    ]
    fitting = [proposal for variant, proposal in made if variant.num_bytes <= memory_budget]
    fastest = min(fitting, key=lambda each: each.seconds, default=None)
    least_memory = min((proposal for _, proposal in made), key=lambda each: each.num_bytes)
    return fastest, least_memory


def num_devices_within(budget: float, seconds: float, fixed: float) -> int | None:
    """Approximate number of devices that shorten a run to a time budget.

    Returns None if more than MAX_DEVICES would be needed, or if no number suffices.

    Args:
        budget: Time budget in seconds.
        seconds: Seconds of the run on one device.
        fixed: Seconds of it that further devices do not shorten.
    """
    if budget <= fixed:
        return None
    number = math.ceil((seconds - fixed) / (budget - fixed) / PARALLEL_EFFICIENCY)
    return number if number <= MAX_DEVICES else None
