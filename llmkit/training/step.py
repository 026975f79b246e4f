"""The arithmetic of one optimizer step: its gradient, and the handling of non-finite values."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from llmkit.data.batches import Batch
from llmkit.runtime.failures import is_out_of_memory
from llmkit.training.batch_schedule import BatchSchedule

MAX_OVERFLOWS = 20  # consecutive; a gradient scaler needs fewer to find its scale


class StepOutcome(Enum):
    """The outcome of an optimizer step. Only an update changes the weights."""

    UPDATED = "the optimizer changed the weights"
    SKIPPED = "the loss or the gradient was not finite"
    OVERFLOWED = "the fp16 gradient overflowed; the scaler lowers its scale"
    FATAL = "not finite more often than the recipe allows, or too many overflows in a row"


def step_outcome(
    loss: float,
    grad_norm: float,
    *,
    has_scaler: bool,
    skips_left: int,
    num_overflows: int,
) -> StepOutcome:
    """The outcome of a step with this loss and this norm of the gradient.

    With a gradient scaler, overflows are expected; without one, a gradient that is not finite
    counts like a loss that is not finite.

    Args:
        skips_left: Steps that may still be skipped (train.max_nonfinite_steps).
        num_overflows: Overflows in the steps just before this one.
    """
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return StepOutcome.UPDATED
    if math.isfinite(loss) and has_scaler:
        is_last = num_overflows + 1 >= MAX_OVERFLOWS
        return StepOutcome.FATAL if is_last else StepOutcome.OVERFLOWED
    return StepOutcome.SKIPPED if skips_left > 0 else StepOutcome.FATAL


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """The seed of the dropout masks that a process draws in a step: a pure function of the run's
    seed, the step and the process, so that nothing has to be restored on resume.

    Distinct for the steps and processes of a run, up to 1009 processes. The factors are primes, and
    the product for a seed below 2^31 stays below 2^63. torch's CPU generator reads the lowest 32
    bits alone, which all three numbers reach.
    """
    return (seed * 1_000_003 + step) * 1_009 + rank


def forward_backward(
    loss_module: nn.Module,
    micro_batches: Iterable[Batch],
    schedule: BatchSchedule,
    step: int,
    accelerator: Accelerator,
    gradients: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Accumulate the gradient of a step.

    Each micro-batch gives a sum over its tokens, divided by the token count of the whole step
    (all micro-batches, all processes), so the result does not depend on how rows are split.

    Args:
        gradients: What `flat_gradients` returned, zeros; needed with several processes.

    Returns:
        The sum of the losses of the step's supervised tokens, over all processes, in nats, and the
        sums of this process's micro-batches: scalars on the device. Only several processes wait
        for it.

    Raises an out-of-memory error in all processes if one of them runs out of memory.
    """
    num_supervised = schedule.num_supervised(step)
    micro_losses = []
    with failing_together(accelerator):
        for batch in micro_batches:
            micro_loss = loss_module(batch.to(accelerator.device))
            accelerator.backward(micro_loss / num_supervised)
            micro_losses.append(micro_loss.detach())
    if gradients is not None:
        sum_gradients(gradients)
    return accelerator.reduce(torch.stack(micro_losses).sum(), "sum"), micro_losses


@contextmanager
def failing_together(accelerator: Accelerator) -> Iterator[None]:
    """Context in which all processes run out of memory if one of them does. Otherwise the others
    would wait for it in the exchange of the gradients."""
    if accelerator.num_processes == 1:
        yield
        return
    num_failures = torch.zeros((), dtype=torch.int32, device=accelerator.device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        num_failures.fill_(1)  # in place, as there is no memory
    torch.distributed.all_reduce(num_failures)
    if num_failures.item():
        raise torch.OutOfMemoryError("in one of the processes")


def flat_gradients(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Set the gradient of each trained weight to zeros, all of them views of the returned buffer,
    into which the backward pass then adds. Clear them with `zero_`, which keeps the views.

    The buffer's layout never changes, because the order in which a collective adds depends on a
    value's place in its buffer.
    """
    trained = [p for p in parameters if p.requires_grad]
    sizes = [p.numel() for p in trained]
    buffer = trained[0].new_zeros(sum(sizes))
    for parameter, part in zip(trained, buffer.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)
    return buffer


def sum_gradients(gradients: Tensor) -> None:
    """Replace the gradients by their sum over all processes, in one exchange without a copy."""
    torch.distributed.all_reduce(gradients)


def nonfinite_rows(micro_losses: list[Tensor], schedule: BatchSchedule, step: int) -> list[int]:
    """Indices of the rows in micro-batches whose loss is not finite, over all processes; all rows
    of the step if only its gradient is not finite."""
    mine = zip(schedule.micro_batch_indices(step)[schedule.rank], micro_losses, strict=True)
    bad = [row for rows, value in mine if not torch.isfinite(value) for row in rows]
    return gather_object(bad) or schedule.step_indices(step)
