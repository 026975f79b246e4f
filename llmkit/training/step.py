"""One optimizer step."""

import gc
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import nn
from torch.nn.utils import clip_grad_norm_

from llmkit.config.schema import Recipe
from llmkit.data.batches import Batch
from llmkit.errors import UserError
from llmkit.model.loss import SupervisedLoss
from llmkit.runtime.failures import is_out_of_memory
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.log import RunLog
from llmkit.training.optim import build_optimizer, learning_rate_at, set_learning_rate
from llmkit.training.progress import Progress

MAX_OVERFLOWS = 20  # a scaler finds its scale in fewer


@dataclass(frozen=True)
class Learner:
    """A model, and what changes its weights."""

    model: nn.Module
    loss_module: nn.Module
    """The model's loss, computed in the run's precision."""
    optimizer: torch.optim.Optimizer
    order: BatchSchedule
    recipe: Recipe
    accelerator: Accelerator

    @classmethod
    def of(
        cls, model: nn.Module, order: BatchSchedule, recipe: Recipe, accelerator: Accelerator
    ) -> "Learner":
        loss_module = prepare_loss(model, recipe, accelerator)
        broadcast([weight.data for weight in model.parameters()])  # from the first process
        optimizer = accelerator.prepare_optimizer(build_optimizer(model, recipe.train))
        return cls(model, loss_module, optimizer, order, recipe, accelerator)


def prepare_loss(model: nn.Module, recipe: Recipe, accelerator: Accelerator) -> nn.Module:
    """The model's loss in the run's precision.

    Not wrapped in DistributedDataParallel, which evaluation_mode prevents: it rearranges its
    buckets after its first step, so the first step after a resume would sum the gradients of three
    or more processes in another order. `sum_gradients` exchanges them instead.
    """
    loss_module = SupervisedLoss(model, recipe.train.forward)
    return accelerator.prepare_model(loss_module, evaluation_mode=True)


def take_step(learner: Learner, progress: Progress, log: RunLog) -> None:
    """Take the next optimizer step.

    A step whose loss or gradient is not finite is left out, or, beyond the recipe's
    max_nonfinite_steps, raises FloatingPointError; so do MAX_OVERFLOWS overflows of the fp16
    gradient in a row. In each case the weights stay as they are.
    """
    order, settings, accelerator = learner.order, learner.recipe.train, learner.accelerator
    loss_module, optimizer, step = learner.loss_module, learner.optimizer, progress.step
    started = time.perf_counter()
    learner.model.train()
    learning_rate = learning_rate_at(step, order.num_steps, settings)
    set_learning_rate(optimizer, learning_rate)
    loss, micro_losses = forward_backward_in_memory(loss_module, order, step, accelerator, log)
    if accelerator.scaler is not None:
        accelerator.scaler.unscale_(optimizer.optimizer)
    grad_norm = float(clip_grad_norm_(loss_module.parameters(), settings.max_grad_norm or math.inf))
    trouble = describe_nonfinite(loss, micro_losses, grad_norm, order, step, accelerator)
    if trouble is not None and progress.num_skipped_steps >= settings.max_nonfinite_steps:
        raise FloatingPointError(
            f"{trouble}; stopped before the weights changed: look at these rows, lower "
            "train.learning_rate or set train.mixed_precision=no"
        )
    # The norm decides, as accelerate's optimizer_step_was_skipped is always False for an optimizer
    # that handles overflows itself, which fused AdamW does.
    overflowed = trouble is None and not math.isfinite(grad_norm)
    if trouble is None and not overflowed:
        optimizer.step()
        progress.num_updates += 1
    else:
        progress.num_skipped_steps += trouble is not None
        if accelerator.scaler is not None:
            accelerator.scaler.update()
    optimizer.zero_grad(set_to_none=True)
    progress.num_overflows = progress.num_overflows + 1 if overflowed else 0
    if progress.num_overflows == MAX_OVERFLOWS:
        raise FloatingPointError(
            f"step {step + 1}: the fp16 gradient overflowed {MAX_OVERFLOWS} times in a row; "
            "the model no longer learns: set train.mixed_precision=bf16 or no"
        )
    progress.step += 1
    seconds = time.perf_counter() - started
    if overflowed:
        log.left_out(step + 1, f"step {step + 1}: the fp16 gradient overflowed")
    elif trouble is not None:
        log.left_out(step + 1, trouble)
    else:
        log.step(
            step + 1,
            loss=loss,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens_per_second=order.num_tokens(step) / seconds,
        )


def forward_backward_in_memory(
    loss_module: nn.Module,
    order: BatchSchedule,
    step: int,
    accelerator: Accelerator,
    log: RunLog,
) -> tuple[float, list[torch.Tensor]]:
    """`forward_backward`; where memory runs out, again with micro-batches of half the size.

    A step's gradient does not depend on how its rows are dealt out, but for dropout's draws.
    Several processes cannot do it, as the others wait in the exchange of the gradient.
    """
    while True:
        # Dropout is a pure function of seed, step and process, whatever validation drew before.
        torch.manual_seed(hash((order.seed, step, order.rank)))
        try:
            return forward_backward(
                loss_module, order.micro_batches(step), order, step, accelerator
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if order.micro_batch_size == 1 or order.num_processes > 1:
                raise UserError(
                    f"step {step + 1}: out of memory with micro-batches of "
                    f"{order.micro_batch_size}; lower data.max_length"
                    f"{' or train.micro_batch_size' if order.micro_batch_size > 1 else ''}"
                ) from None
        loss_module.zero_grad(set_to_none=True)
        gc.collect()
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        order.micro_batch_size //= 2
        log.note(
            step + 1,
            f"step {step + 1}: out of memory; micro-batches of {order.micro_batch_size} from here "
            "on, which changes nothing but what dropout draws",
        )


def forward_backward(
    loss_module: nn.Module,
    micro_batches: Iterator[Batch],
    order: BatchSchedule,
    step: int,
    accelerator: Accelerator,
) -> tuple[float, list[torch.Tensor]]:
    """Accumulate the step's gradient; returns its loss, nats per supervised token, and the sums of
    this process's micro-batches.

    Each micro-batch gives a sum over its tokens, divided by the token count of the whole step
    (all micro-batches, all processes), so the result does not depend on how rows were dealt out.
    """
    num_supervised = order.num_supervised(step)
    micro_losses = []
    for batch in micro_batches:
        micro_loss = loss_module(**{k: v.to(accelerator.device) for k, v in batch.items()})
        accelerator.backward(micro_loss / num_supervised)
        micro_losses.append(micro_loss.detach())
    if accelerator.num_processes > 1:
        sum_gradients(loss_module.parameters())
    loss_sum = accelerator.reduce(torch.stack(micro_losses).sum(), "sum")
    return loss_sum.item() / num_supervised, micro_losses


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes.

    All of them travel in one float32 buffer whose layout never changes: the order in which a
    collective adds depends on a value's place in its buffer.
    """
    trained = [p for p in parameters if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    buffer = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(buffer)
    parts = buffer.split([gradient.numel() for gradient in gradients])
    for parameter, part in zip(trained, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def describe_nonfinite(
    loss: float,
    micro_losses: list[torch.Tensor],
    grad_norm: float,
    order: BatchSchedule,
    step: int,
    accelerator: Accelerator,
) -> str | None:
    """What is not finite, and in which rows: those of the micro-batches whose loss it is, else all
    of the step; None when all is well.

    An fp16 gradient may overflow: its scaler steps over it and lowers the scale.
    """
    gradient_is_finite = math.isfinite(grad_norm) or accelerator.scaler is not None
    if math.isfinite(loss) and gradient_is_finite:
        return None
    mine = zip(order.dealt(step)[order.rank], micro_losses, strict=True)
    bad = [row for rows, value in mine if not torch.isfinite(value) for row in rows]
    bad = gather_object(bad) or order.rows(step)
    return (
        f"step {step + 1}: the loss is {loss} and the gradient's norm {grad_norm} "
        f"(rows {order.name_rows(bad)})"
    )
