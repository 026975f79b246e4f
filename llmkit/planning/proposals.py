"""Proposals: the variants of a recipe that serve a budget of time and memory best."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.planning.candidates import Variant
from llmkit.planning.prediction import count_validations
from llmkit.planning.scaling_law import PUBLISHED, Forecast, Trial, effective_tokens, forecast
from llmkit.planning.work import Amounts

NUM_SHOWN = 6
SHARED = 0.9  # of the work of several devices that is not lost in their exchange of gradients
MAX_DEVICES = 64
MAX_EPOCHS = {"pretrain": 16.0}  # beyond which more of the same rows adds next to nothing
MAX_EPOCHS_OF_TASKS = 4.0  # of tasks with few supervised tokens per row, which overfit


@dataclass(frozen=True)
class Rates:
    """How fast a machine is, for a recipe."""

    per_flop: dict[str, float]
    """Seconds of training, by precision."""
    per_step: float
    per_micro_batch: float
    per_saved_byte: float
    fixed: float
    """Seconds of preparation and statistics, which depend on the rows alone."""


@dataclass(frozen=True)
class Schedule:
    """The length of a run, and what a step of it consists of."""

    num_steps: int
    steps_per_epoch: int
    validate_every: int | None
    """The recipe's evaluation.every; None: once an epoch."""
    step: Amounts
    is_given_in_steps: bool
    """Whether the recipe gives max_steps instead of epochs."""

    @property
    def epoch_tokens(self) -> float:
        return self.step.tokens * self.steps_per_epoch

    def num_validations(self, num_steps: int) -> int:
        return count_validations(num_steps, self.validate_every or self.steps_per_epoch)


@dataclass(frozen=True)
class Costs:
    """Seconds that a variant takes, by what they grow with."""

    fixed: float
    per_step: float
    per_validation: float
    """With the checkpoint after it."""

    def seconds(self, num_steps: int, schedule: Schedule) -> float:
        validations = schedule.num_validations(num_steps)
        return self.fixed + num_steps * self.per_step + validations * self.per_validation

    def steps_within(self, budget: float, schedule: Schedule) -> int:
        """The most steps that a budget allows; 0 if it allows none."""
        every = schedule.validate_every or schedule.steps_per_epoch
        left = budget - self.fixed - self.per_validation  # the last step is validated, too
        steps = max(0, int(left / (self.per_step + self.per_validation / every)))
        while steps and self.seconds(steps, schedule) > budget:
            steps -= 1
        return steps


@dataclass(frozen=True)
class Proposal:
    """A variant at a length that fits the budget."""

    changes: dict[str, Any]
    """Keys to set, with their values."""
    num_weights: int
    num_steps: int
    epochs: float
    seconds: float
    num_bytes: int
    loss: tuple[float, float, float]
    """(low, expected, high) in nats per token; without trials, the difference from the recipe as
    it is written, without an interval."""

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
class Outlook:
    """The loss to expect of a model at a length."""

    num_weights: int
    """Of the recipe's model."""
    schedule: Schedule
    """Of the recipe as it is written."""
    forecast: Forecast | None = None
    """From trials; None: only differences from the recipe are known."""
    whole_steps: int = 0
    """Steps of the run that the forecast calls the whole one."""

    def tokens(self, num_steps: float) -> float:
        """Tokens of fresh text that are worth as much as those of the steps."""
        seen = num_steps * self.schedule.step.tokens
        return effective_tokens(self.schedule.epoch_tokens, seen)

    def with_trials(self, trials: Sequence[Trial], whole_steps: int) -> "Outlook":
        """The outlook that trials give on a run of `whole_steps`."""
        whole = self.tokens(whole_steps)
        trained = [trial for trial in trials if trial.num_steps]
        untuned = next((trial.loss for trial in trials if not trial.num_steps), None)
        fractions = [self.tokens(trial.num_steps) / whole for trial in trained]
        found = forecast(fractions, [trial.loss for trial in trained], untuned)
        return replace(self, forecast=found, whole_steps=whole_steps)

    def loss(self, num_weights: int, num_steps: int) -> tuple[float, float, float]:
        """(low, expected, high), see Proposal.loss."""
        own, tokens = self.tokens(self.schedule.num_steps), self.tokens(num_steps)
        change = PUBLISHED.loss(num_weights, tokens) - PUBLISHED.loss(self.num_weights, tokens)
        if self.forecast is not None:
            low, expected, high = self.forecast.at(tokens / self.tokens(self.whole_steps))
            return low + change, expected + change, high + change
        change += PUBLISHED.loss(self.num_weights, tokens) - PUBLISHED.loss(self.num_weights, own)
        return change, change, change


def costs_of(
    variant: Variant, rates: Rates, schedule: Schedule, scoring: tuple[float, float]
) -> Costs:
    """What a variant takes on a machine.

    scoring: Seconds of a validation, and of the final scores with their models.
    """
    micro_batches = max(1.0, schedule.step.tokens / variant.tokens)
    per_step = (
        rates.per_step
        + rates.per_micro_batch * micro_batches
        + rates.per_flop[variant.precision] * variant.training.of(schedule.step)
    )
    validation, final = scoring
    saving = rates.per_saved_byte * variant.saved_bytes
    return Costs(rates.fixed + final, per_step, validation + saving)


def propose(
    found: Iterable[tuple[Variant, Costs]],
    task: str,
    schedule: Schedule,
    outlook: Outlook,
    budget: float | None,
    room: float,
    base_bytes: int,
) -> list[Proposal]:
    """The variants that fit, each at the best length, the best ones first.

    Args:
        found: Variants with their costs.
        budget: Seconds of the run; None: the recipe's own length, whatever it takes.
        room: Bytes for the training, without the libraries.
        base_bytes: Bytes of the libraries.
    """
    epochs = schedule.num_steps / schedule.steps_per_epoch
    most = max(epochs, MAX_EPOCHS.get(task, MAX_EPOCHS_OF_TASKS)) * schedule.steps_per_epoch
    best: dict[tuple, Proposal] = {}
    for variant, costs in found:
        steps = schedule.num_steps
        if budget is not None:
            steps = min(int(most), costs.steps_within(budget, schedule))
        if steps < 1 or variant.num_bytes > room:
            continue
        proposal = make_proposal(variant, costs, steps, schedule, outlook, base_bytes)
        key = variant.num_weights, variant.changes.get("train.method")
        if key not in best or rank(proposal) < rank(best[key]):
            best[key] = proposal
    return sorted(best.values(), key=rank)[:NUM_SHOWN]


def rank(proposal: Proposal) -> tuple[float, bool, float, int]:
    """Sorts proposals, the best first: by loss, full fine-tuning before adapters, which learn less
    (Biderman et al. 2024, arXiv 2405.09673), then by time, and by what they change."""
    is_lora = proposal.changes.get("train.method") == "lora"
    return round(proposal.loss[1], 4), is_lora, round(proposal.seconds), len(proposal.changes)


def make_proposal(
    variant: Variant,
    costs: Costs,
    num_steps: int,
    schedule: Schedule,
    outlook: Outlook,
    base_bytes: int,
) -> Proposal:
    """The variant at this length."""
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
        outlook.loss(variant.num_weights, num_steps),
    )


def smallest(
    found: Iterable[tuple[Variant, Costs]],
    schedule: Schedule,
    outlook: Outlook,
    budget: float | None,
    room: float,
    base_bytes: int,
) -> tuple[Proposal | None, Proposal | None]:
    """What would fit if nothing does: a single epoch that takes the least time of those that fit
    into memory, and the variant that takes the least memory."""
    steps = min(schedule.num_steps, schedule.steps_per_epoch)
    made = [
        (variant, make_proposal(variant, costs, steps, schedule, outlook, base_bytes))
        for variant, costs in found
    ]
    in_room = [proposal for variant, proposal in made if variant.num_bytes <= room]
    quickest = min(in_room, key=lambda each: each.seconds, default=None)
    lightest = min((proposal for _, proposal in made), key=lambda each: each.num_bytes)
    return quickest, lightest


def devices_within(budget: float, seconds: float, fixed: float) -> int | None:
    """About how many devices shorten a run of so many seconds to the budget; None if too many.

    fixed: Seconds that they do not share.
    """
    if budget <= fixed:
        return None
    number = math.ceil((seconds - fixed) / (budget - fixed) / SHARED)
    return number if number <= MAX_DEVICES else None
