"""The trainer: a model with all that changes its weights, one optimizer step at a time."""

import gc
import math
import time
from dataclasses import dataclass, field, replace

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from llmkit.config.schema import Forward, Train
from llmkit.errors import UserError
from llmkit.families.compiled import CompiledParts, require_compiler
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import has_activation_checkpointing, set_activation_checkpointing
from llmkit.runtime.cuda import deterministic_algorithms
from llmkit.runtime.failures import is_out_of_memory, memory_errors
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.log import RunLog
from llmkit.training.optim import build_optimizer, learning_rate_at, set_learning_rate
from llmkit.training.pace import Pace
from llmkit.training.state import TrainingProgress
from llmkit.training.step import (
    MAX_OVERFLOWS,
    StepOutcome,
    dropout_seed,
    flat_gradients,
    forward_backward,
    nonfinite_rows,
    step_outcome,
)

HALF_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}  # by the mixed precision


@dataclass
class Trainer:
    """Owns the model, its loss, its optimizer and its batch schedule."""

    model: nn.Module
    loss_module: nn.Module
    """The model's loss, computed in the run's precision."""
    optimizer: torch.optim.Optimizer
    schedule: BatchSchedule
    settings: Train
    accelerator: Accelerator
    gradients: Tensor | None = None
    """Gradients of all weights in one buffer, for the sum over several processes."""
    masks: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)
    """Weights with elements that stay 0, and where they may change; see train.keep_zeros."""
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    pace: Pace = field(default_factory=Pace)

    @classmethod
    def build(
        cls, model: nn.Module, schedule: BatchSchedule, settings: Train, accelerator: Accelerator
    ) -> "Trainer":
        """Build a trainer; the weights of the first process are broadcast to all others."""
        loss_module = prepare_loss(model, settings.forward, accelerator)
        broadcast([weight.data for weight in model.parameters()])
        dtype = HALF_PRECISION.get(accelerator.mixed_precision)
        if dtype is not None and not has_activation_checkpointing(model):  # which saves memory
            loss_module.use_half_weights(dtype)
        if settings.compile and accelerator.device.type == "cuda":
            require_compiler()
            loss_module.compiled = CompiledParts()
        optimizer = accelerator.prepare_optimizer(build_optimizer(model, settings))
        gradients = flat_gradients(model.parameters()) if schedule.num_processes > 1 else None
        masks = nonzero_masks(model) if settings.keep_zeros else []
        return cls(model, loss_module, optimizer, schedule, settings, accelerator, gradients, masks)

    def train_step(self, log: RunLog) -> StepOutcome:
        """Take the next optimizer step.

        Raises:
            FloatingPointError: The step would have to be skipped, but the recipe's
                max_nonfinite_steps is used up, or the fp16 gradient has overflowed MAX_OVERFLOWS
                times in a row. The weights are as they were before the step.
        """
        with deterministic_algorithms(self.accelerator.device, enabled=self.settings.deterministic):
            return self._train_step(log)

    def _train_step(self, log: RunLog) -> StepOutcome:
        progress, step, started = self.progress, self.progress.step, time.perf_counter()
        self.model.train()
        learning_rate = learning_rate_at(step, self.schedule.num_steps, self.settings)
        set_learning_rate(self.optimizer, learning_rate)
        if self.loss_module.half_weights is not None:
            self.loss_module.half_weights.refresh()
        loss_sum, micro_losses = self.forward_backward_in_memory(log)
        norm = self.clip_gradient()
        # The only values that the host waits for in a step, both at once.
        loss_sum, grad_norm = torch.stack([loss_sum, norm.to(loss_sum)]).tolist()
        loss = loss_sum / self.schedule.num_supervised(step)
        outcome = step_outcome(
            loss,
            grad_norm,
            has_scaler=self.accelerator.scaler is not None,
            skips_left=self.settings.max_nonfinite_steps - progress.num_skipped_steps,
            num_overflows=progress.num_overflows,
        )
        problem = self.describe(outcome, loss, grad_norm, micro_losses)
        if outcome is StepOutcome.FATAL:
            raise FloatingPointError(problem)
        self.update(outcome)
        progress.step += 1
        seconds = time.perf_counter() - started
        self.keep_pace(step, seconds, log)
        num_tokens = self.schedule.num_tokens(step)
        progress.num_tokens += num_tokens
        if outcome is StepOutcome.UPDATED:
            tokens_per_second = num_tokens / seconds
            log.step(
                step + 1,
                loss=loss,
                learning_rate=learning_rate,
                grad_norm=grad_norm,
                tokens_per_second=tokens_per_second,
                tokens_seen=progress.num_tokens,
            )
        else:
            log.skipped_step(step + 1, problem)
        return outcome

    def keep_pace(self, step: int, seconds: float, log: RunLog) -> None:
        """Count the step; after the first few, predict and log what all of them will take."""
        self.pace.add(seconds, self.schedule.num_tokens(step))
        num_steps = self.schedule.num_steps - (step + 1 - self.pace.num_steps)
        if self.pace.predict(num_steps, self.schedule.mean_step_tokens):
            log.predicted_pace(self.pace)

    def forward_backward_in_memory(self, log: RunLog) -> tuple[Tensor, list[Tensor]]:
        """`forward_backward`; if memory runs out, again with smaller micro-batches, and with
        activation checkpointing before they would be of one row.

        The gradient of a step does not depend on how its rows are split, except for the dropout
        masks. If one of several processes runs out of memory, all of them repeat the step.
        """
        schedule, step = self.schedule, self.progress.step
        while True:
            torch.manual_seed(dropout_seed(schedule.seed, step, schedule.rank))
            try:
                return forward_backward(
                    self.loss_module,
                    schedule.micro_batches(step),
                    schedule,
                    step,
                    self.accelerator,
                    self.gradients,
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                remedy = self.use_less_memory()
                if remedy is None:
                    raise UserError(
                        f"step {step + 1}: out of memory with micro-batches of up to "
                        f"{schedule.limit}; {self.memory_advice()}"
                    ) from None
            self.clear_gradient()
            gc.collect()
            if torch.accelerator.is_available():
                torch.accelerator.empty_cache()
            log.note(step + 1, f"step {step + 1}: out of memory; {remedy}")

    def use_less_memory(self) -> str | None:
        """Have this step's micro-batches take less memory, in all processes alike; returns how, or
        None if they cannot."""
        schedule, step = self.schedule, self.progress.step
        num_longest = max(len(rows[0]) for rows in schedule.micro_batch_indices(step))
        is_open = self.settings.activation_checkpointing is None
        if num_longest // 2 <= 1 and is_open and not has_activation_checkpointing(self.model):
            set_activation_checkpointing(self.model, True)
            self.loss_module.half_weights = None
            return "activation checkpointing from here on, which changes no result"
        if not schedule.split_further(step):
            return None
        return (
            f"micro-batches of up to {schedule.limit} from here on, which changes nothing but the "
            "dropout masks"
        )

    def memory_advice(self) -> str:
        """Advice for a step that does not fit into memory."""
        advice = ["lower data.max_length"]
        if not has_activation_checkpointing(self.model):
            advice.append("set train.activation_checkpointing=true")
        return " or ".join(advice)

    def clip_gradient(self) -> Tensor:
        """Clip the gradient to the recipe's max_grad_norm, without the elements that stay 0;
        returns its norm before, a scalar."""
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.unscale_(self.optimizer.optimizer)
        for weight, mask in self.masks:
            weight.grad.mul_(mask)
        max_norm = self.settings.max_grad_norm or math.inf
        return clip_grad_norm_(self.loss_module.parameters(), max_norm)

    def update(self, outcome: StepOutcome) -> None:
        """Update the weights, or skip the update and let the scaler reduce its scale; then clear
        the gradient.

        This depends on the outcome, because accelerate's optimizer_step_was_skipped is always False
        for an optimizer that handles overflows itself, such as fused AdamW.
        """
        progress = self.progress
        if outcome is StepOutcome.UPDATED:
            with memory_errors(
                f"step {progress.step + 1}: updating the weights",
                "set train.optimizer=adafactor or train.method=lora, raise train.freeze_layers, "
                "or choose a smaller model",
            ):
                self.optimizer.step()
        elif self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        self.clear_gradient()
        progress.num_updates += outcome is StepOutcome.UPDATED
        progress.num_skipped_steps += outcome is StepOutcome.SKIPPED
        overflowed = outcome is StepOutcome.OVERFLOWED
        progress.num_overflows = progress.num_overflows + 1 if overflowed else 0

    def clear_gradient(self) -> None:
        if self.gradients is None:
            self.loss_module.zero_grad(set_to_none=True)
        else:
            self.gradients.zero_()

    def describe(
        self, outcome: StepOutcome, loss: float, grad_norm: float, micro_losses: list[Tensor]
    ) -> str:
        """Describe a non-finite loss or gradient and its rows, for log and error message; empty
        after an update.

        With several processes, all of them must call this.
        """
        step = self.progress.step + 1
        if outcome is StepOutcome.UPDATED:
            return ""
        if outcome is StepOutcome.OVERFLOWED:
            return f"step {step}: the fp16 gradient overflowed"
        if math.isfinite(loss) and self.accelerator.scaler is not None:
            return (
                f"step {step}: the fp16 gradient overflowed {MAX_OVERFLOWS} times in a row; "
                "the model no longer learns: set train.mixed_precision=bf16 or no"
            )
        rows = self.schedule.name_rows(nonfinite_rows(micro_losses, self.schedule, step - 1))
        problem = (
            f"step {step}: the loss is {loss} and the gradient's norm {grad_norm} (rows {rows})"
        )
        if outcome is StepOutcome.SKIPPED:
            return problem
        return (
            f"{problem}; stopped before the weights changed: look at these rows, lower "
            "train.learning_rate or set train.mixed_precision=no"
        )

    def current_progress(self) -> TrainingProgress:
        """The progress with what a checkpoint needs of the schedule and of the scaler."""
        scaler = self.accelerator.scaler
        return replace(
            self.progress,
            micro_batch_size=self.schedule.limit.rows,
            micro_batch_tokens=self.schedule.limit.tokens,
            activation_checkpointing=has_activation_checkpointing(self.model),
            scaler=scaler.state_dict() if scaler else {},
        )


def nonzero_masks(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """The trainable matrices with elements that are 0, and where they are not."""
    masks = [(weight, weight != 0) for weight in model.parameters()
             if weight.requires_grad and weight.ndim > 1]  # fmt: skip
    return [(weight, mask) for weight, mask in masks if not mask.all()]


def prepare_loss(model: nn.Module, forward_pass: Forward, accelerator: Accelerator) -> nn.Module:
    """The model's loss in the run's precision.

    Not wrapped in DistributedDataParallel, which evaluation_mode prevents: it rearranges its
    buckets after its first step, so the first step after a resume would sum the gradients of three
    or more processes in another order. `sum_gradients` exchanges them instead.
    """
    loss_module = SupervisedLoss(model, forward_pass)
    return accelerator.prepare_model(loss_module, evaluation_mode=True)
