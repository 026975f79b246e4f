"""The rows of each optimizer step and process."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import chain

from llmkit.config.schema import Train
from llmkit.data.batches import (
    Batch,
    MicroBatchLimit,
    collate,
    padded_size,
    split_into_micro_batches,
)
from llmkit.data.mixed_rows import MixedRows, TrainRows, epoch_order
from llmkit.errors import UserError, first_few


class BatchSchedule:
    """The rows of each optimizer step and process, as pure functions of the step.

    Only `limit` may change during a run. It affects how the rows of a step are split into
    micro-batches, never which rows they are.
    """

    def __init__(
        self,
        rows: TrainRows | MixedRows,
        train: Train,
        *,
        seed: int,
        capacity: int | None,
        limit: MicroBatchLimit,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        """
        Args:
            rows: The encoded training rows.
            train: Length of the training and batch sizes.
            seed: Seed of the row order.
            capacity: Maximum tokens of a sequence of several rows; None: one row per sequence.
            limit: Maximum size of a micro-batch.
            rank: Index of this process.
        """
        self.rows = rows
        # Cached, since all steps of an epoch use its order; between two epochs, both are needed.
        self.order_of_epoch = lru_cache(maxsize=2)(partial(epoch_order, rows, seed))
        self.seed, self.capacity = seed, capacity
        self.rank, self.num_processes = rank, num_processes
        self.global_batch_size = min(train.global_batch_size, len(rows))
        self.limit = limit
        self.steps_per_epoch = -(-len(rows) // self.global_batch_size)
        epochs = train.epochs or 0
        self.num_steps = train.max_steps or max(1, round(epochs * self.steps_per_epoch))
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self.ahead: dict[tuple[int, MicroBatchLimit], Future[list[Batch]]] = {}

    def with_settings(self, train: Train) -> "BatchSchedule":
        """A schedule of the same rows with another length of training or other batch sizes."""
        return BatchSchedule(
            self.rows,
            train,
            seed=self.seed,
            capacity=self.capacity,
            limit=self.limit,
            rank=self.rank,
            num_processes=self.num_processes,
        )

    def step_indices(self, step: int) -> list[int]:
        """Row indices of a step, over all processes. The last step of an epoch may be smaller."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.global_batch_size
        order = self.order_of_epoch(epoch)
        return order[start : start + self.global_batch_size].tolist()

    def micro_batch_indices(self, step: int) -> list[list[list[int]]]:
        """Row indices of a step by process and micro-batch."""
        indices = self.step_indices(step)
        return split_into_micro_batches(
            indices,
            self._lengths_of(indices),
            self.limit,
            self.num_processes,
            self.capacity,
        )

    def _lengths_of(self, indices: list[int]) -> dict[int, int]:
        return dict(zip(indices, self.rows.lengths[indices].tolist(), strict=True))

    def micro_batches(self, step: int) -> list[Batch]:
        """The micro-batches of a step in this process. A thread then prepares those of the next
        step, so that a GPU does not wait for them."""
        laid_out = self.ahead.pop((step, self.limit), None)  # a failed layout is tried again
        batches = laid_out.result() if laid_out else self._lay_out(step)
        following = step + 1, self.limit
        self.ahead = {}
        if step + 1 < self.num_steps:
            self.ahead = {following: self.thread.submit(self._lay_out, step + 1)}
        return batches

    def _lay_out(self, step: int) -> list[Batch]:
        return [
            collate([self.rows[index] for index in indices], self.capacity)
            for indices in self.micro_batch_indices(step)[self.rank]
        ]

    def split_further(self, step: int) -> bool:
        """Lower the limit until a step has more micro-batches; returns whether it can have more."""
        before = self.micro_batch_indices(step)
        if all(len(rows) <= 1 for rows in chain.from_iterable(before)):
            return False
        while self.micro_batch_indices(step) == before:
            self.limit = self.limit.halved()
        return True

    def padding_share(self, num_steps: int = 100) -> float:
        """Share of padding among the tokens of the first steps."""
        num_tokens = size = 0
        for step in range(min(num_steps, self.num_steps)):
            for indices in chain.from_iterable(self.micro_batch_indices(step)):
                lengths = self.rows.lengths[indices].tolist()
                num_tokens += sum(lengths)
                size += padded_size(lengths, self.capacity)
        return 1 - num_tokens / size

    def largest_size(self, step: int) -> int:
        """Tokens, including padding, of the largest micro-batch of a step."""
        return max(
            padded_size(self.rows.lengths[indices].tolist(), self.capacity)
            for indices in chain.from_iterable(self.micro_batch_indices(step))
        )

    def name_rows(self, rows: list[int]) -> str:
        """The locations of rows (file:line) for a message; of many, the first few."""
        return first_few([self.rows.where(index) for index in rows])

    def num_tokens(self, step: int) -> int:
        """Tokens of a step without padding, over all processes."""
        return int(self.rows.lengths[self.step_indices(step)].sum())

    @property
    def mean_step_tokens(self) -> float:
        """Tokens of a step without padding, over all processes, on average over an epoch."""
        return int(self.rows.lengths.sum()) / self.steps_per_epoch

    def num_supervised(self, step: int) -> int:
        """Supervised tokens of a step, over all processes."""
        count = int(self.rows.supervised[self.step_indices(step)].sum())
        if not count:
            raise UserError(f"step {step + 1}: none of its rows has a supervised token")
        return count
