"""The training loop."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import lru_cache

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn

from llmkit.batches import Batch, batch_capacity, collate, padded_size, row_order, split_step
from llmkit.encode import count_tokens
from llmkit.errors import UserError, name_some
from llmkit.log import RunLog
from llmkit.loss import SupervisedLoss
from llmkit.memory import BEST_TOKENS
from llmkit.optim import build_optimizer, learning_rate_at, set_learning_rate
from llmkit.schema import Recipe
from llmkit.tasks import Scores

MAX_SKIPPED_STEPS = 20  # a scaler finds its scale in fewer


def train(
    model: nn.Module,
    order: "StepOrder",
    recipe: Recipe,
    accelerator: Accelerator,
    log: RunLog,
    validate: Callable[[], Scores],
    keep: Callable[[], None],
    metric: tuple[str, bool],
) -> int:
    """Train the model in place; returns the step whose weights scored best.

    validate scores the model as it stands; keep saves it, called whenever its `metric` (name,
    higher is better) is the best so far. A step whose loss or gradient is not finite is left out,
    or, beyond the recipe's max_nonfinite_steps, raises FloatingPointError; either way before the
    weights change.
    """
    settings = recipe.train
    optimizer = build_optimizer(model, settings)
    loss_module, optimizer = accelerator.prepare(SupervisedLoss(model, settings.engine), optimizer)
    best = Best(*metric, patience=recipe.evaluation.early_stopping_patience)
    evaluate_every = recipe.evaluation.every or order.steps_per_epoch
    skipped = num_left_out = 0
    model.train()

    for step in range(order.num_steps):
        started = time.perf_counter()
        learning_rate = learning_rate_at(step, order.num_steps, settings)
        set_learning_rate(optimizer, learning_rate)
        loss, micro_losses = forward_backward_in_memory(loss_module, order, step, accelerator, log)
        grad_norm = accelerator.clip_grad_norm_(
            loss_module.parameters(), settings.max_grad_norm or math.inf
        )
        trouble = describe_nonfinite(loss, micro_losses, grad_norm, order, step, accelerator)
        if trouble is None:
            optimizer.step()
        elif num_left_out < settings.max_nonfinite_steps:
            num_left_out += 1
            if accelerator.scaler is not None:
                accelerator.scaler.update()
        else:
            raise FloatingPointError(
                f"{trouble}; stopped before the weights changed: look at these rows, lower "
                "train.learning_rate or set train.mixed_precision=no"
            )
        optimizer.zero_grad(set_to_none=True)
        skipped = skipped + 1 if accelerator.optimizer_step_was_skipped else 0
        if skipped == MAX_SKIPPED_STEPS:
            raise FloatingPointError(
                f"step {step + 1}: the fp16 gradient overflowed {skipped} times in a row; nothing "
                "is learnt any more: set train.mixed_precision=bf16 or no"
            )

        done = step + 1
        seconds = time.perf_counter() - started
        if trouble is not None or skipped:
            log.left_out(done, trouble or f"step {done}: the fp16 gradient overflowed")
        else:
            log.step(
                done,
                loss=loss,
                learning_rate=learning_rate,
                grad_norm=float(grad_norm),
                tokens_per_second=order.num_tokens(step) / seconds,
            )
        if done % evaluate_every == 0 or done == order.num_steps:
            scores = validate()
            is_best = best.update(done, scores)
            log.validation(done, scores, is_best)
            if is_best:
                keep()
            if best.is_exhausted:
                break
    if not best.step:
        raise FloatingPointError(f"no validation gave a finite {best.metric}; nothing was saved")
    return best.step


def forward_backward_in_memory(
    loss_module: nn.Module,
    order: "StepOrder",
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
                    f"{order.micro_batch_size}; lower max_length"
                    f"{' or train.micro_batch_size' if order.micro_batch_size > 1 else ''}"
                ) from None
        loss_module.zero_grad(set_to_none=True)
        gc.collect()
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        order.micro_batch_size //= 2
        log.note(
            f"step {step + 1}: out of memory; micro-batches of {order.micro_batch_size} from here "
            "on, which changes nothing but what dropout draws"
        )


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an allocation failed: on a GPU, or on a CPU by torch or, of dropout's bits, NumPy."""
    is_ours = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_ours or "can't allocate memory" in str(error)


def forward_backward(
    loss_module: nn.Module,
    micro_batches: Iterator[Batch],
    order: "StepOrder",
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
    for is_last, batch in mark_last(micro_batches):
        # Gradients are exchanged once a step, with the last micro-batch.
        with nullcontext() if is_last else accelerator.no_sync(loss_module):
            micro_loss = loss_module(**{k: v.to(accelerator.device) for k, v in batch.items()})
            # Distributed training averages gradients over processes; we want their sum.
            accelerator.backward(micro_loss * accelerator.num_processes / num_supervised)
        micro_losses.append(micro_loss.detach())
    loss_sum = accelerator.reduce(torch.stack(micro_losses).sum(), "sum")
    return loss_sum.item() / num_supervised, micro_losses


def describe_nonfinite(
    loss: float,
    micro_losses: list[torch.Tensor],
    grad_norm: torch.Tensor,
    order: "StepOrder",
    step: int,
    accelerator: Accelerator,
) -> str | None:
    """What is not finite, and in which rows: those of the micro-batches whose loss it is, else all
    of the step; None when all is well.

    An fp16 gradient may overflow: its scaler steps over it and lowers the scale.
    """
    gradient_is_finite = bool(torch.isfinite(grad_norm)) or accelerator.scaler is not None
    if math.isfinite(loss) and gradient_is_finite:
        return None
    mine = zip(order.dealt(step)[order.rank], micro_losses, strict=True)
    bad = [row for rows, value in mine if not torch.isfinite(value) for row in rows]
    bad = gather_object(bad) or order.rows(step)
    return (
        f"step {step + 1}: the loss is {loss} and the gradient's norm {float(grad_norm)} "
        f"(rows {order.name_rows(bad)})"
    )


class StepOrder:
    """Which rows each step trains on, in which process: pure functions of the step."""

    def __init__(
        self,
        encoded: Dataset,
        recipe: Recipe,
        accelerator: Accelerator,
        max_tokens: int = BEST_TOKENS,
    ) -> None:
        """max_tokens: of a micro-batch, where the recipe leaves its size open."""
        self.encoded = encoded
        self.capacity = batch_capacity(recipe)
        self.seed = recipe.seed
        self.global_batch_size = min(recipe.train.global_batch_size, len(encoded))
        self.rank, self.num_processes = accelerator.process_index, accelerator.num_processes
        rows_per_process = -(-self.global_batch_size // self.num_processes)
        self.lengths, self.supervised = (counts.tolist() for counts in count_tokens(encoded))
        fitting = recipe.train.micro_batch_size or max(1, max_tokens // max(self.lengths))
        self.micro_batch_size = min(fitting, rows_per_process)
        self.steps_per_epoch = -(-len(encoded) // self.global_batch_size)
        epochs = recipe.train.epochs or 0
        self.num_steps = recipe.train.max_steps or max(1, round(epochs * self.steps_per_epoch))
        self._epoch_order = lru_cache(maxsize=1)(
            lambda epoch: row_order(len(encoded), self.seed, epoch)
        )

    def rows(self, step: int) -> list[int]:
        """Indices of the step's rows, over all processes. An epoch's last step may be short."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.global_batch_size
        return self._epoch_order(epoch)[start : start + self.global_batch_size]

    def dealt(self, step: int) -> list[list[list[int]]]:
        """For each process, the rows of its micro-batches of the step."""
        return split_step(self.rows(step), self.lengths, self.micro_batch_size, self.num_processes)

    def micro_batches(self, step: int) -> Iterator[Batch]:
        """This process's micro-batches of the step."""
        for indices in self.dealt(step)[self.rank]:
            yield collate([self.encoded[index] for index in indices], self.capacity)

    def padding_share(self, num_steps: int = 100) -> float:
        """Share of padding in what the model is fed during the first steps."""
        num_tokens = size = 0
        for step in range(min(num_steps, self.num_steps)):
            for indices in (batch for batches in self.dealt(step) for batch in batches):
                lengths = [self.lengths[index] for index in indices]
                num_tokens += sum(lengths)
                size += padded_size(lengths, self.capacity)
        return 1 - num_tokens / size

    def name_rows(self, rows: list[int]) -> str:
        """Where these rows stand (file:line), the first few by name."""
        return name_some([self.encoded[index]["where"] for index in rows])

    def num_tokens(self, step: int) -> int:
        """Real tokens of the step, padding not counted, over all processes."""
        return sum(self.lengths[index] for index in self.rows(step))

    def num_supervised(self, step: int) -> int:
        """Tokens of the step that carry loss, over all processes."""
        count = sum(self.supervised[index] for index in self.rows(step))
        if not count:
            raise UserError(f"step {step + 1}: none of its rows has a token to learn")
        return count

    @property
    def gradient_accumulation_steps(self) -> int:
        """Micro-batches a full step has in each process."""
        return -(-self.global_batch_size // (self.micro_batch_size * self.num_processes))


class Best:
    """The best score so far and how long ago it was."""

    def __init__(self, metric: str, higher_is_better: bool, patience: int | None) -> None:
        self.metric = metric
        self.sign = 1 if higher_is_better else -1
        self.patience = patience
        self.rank = (-math.inf, -math.inf)
        self.step = 0
        self.misses = 0

    def update(self, step: int, scores: Scores) -> bool:
        """Whether these scores are the best so far. Of equal ones the lower loss is better."""
        rank = (self.sign * scores[self.metric], -scores["loss"])
        is_best = rank > self.rank
        if is_best:
            self.rank, self.step = rank, step
        self.misses = 0 if is_best else self.misses + 1
        return is_best

    @property
    def is_exhausted(self) -> bool:
        return self.patience is not None and self.misses >= self.patience


def mark_last(items: Iterator) -> Iterator[tuple[bool, object]]:
    """Each item with whether it is the last."""
    items = iter(items)
    current = next(items)
    for following in items:
        yield False, current
        current = following
    yield True, current
