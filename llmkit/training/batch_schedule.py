"""Which rows each optimizer step trains on, in which process."""

from collections.abc import Iterator
from functools import lru_cache

from accelerate import Accelerator
from datasets import Dataset

from llmkit.config.schema import Recipe
from llmkit.data.batches import (
    Batch,
    batch_capacity,
    collate,
    padded_size,
    shuffled_indices,
    split_into_micro_batches,
)
from llmkit.data.encoded_rows import count_tokens
from llmkit.errors import UserError, first_few
from llmkit.training.memory import BEST_TOKENS


class BatchSchedule:
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
        self.lengths, self.supervised = (counts.tolist() for counts in count_tokens(encoded))
        fitting = recipe.train.micro_batch_size or max(1, max_tokens // max(self.lengths))
        self.micro_batch_size = min(fitting, self.global_batch_size)
        self.steps_per_epoch = -(-len(encoded) // self.global_batch_size)
        epochs = recipe.train.epochs or 0
        self.num_steps = recipe.train.max_steps or max(1, round(epochs * self.steps_per_epoch))
        self._epoch_order = lru_cache(maxsize=1)(
            lambda epoch: shuffled_indices(len(encoded), self.seed, epoch)
        )

    def rows(self, step: int) -> list[int]:
        """Indices of the step's rows, over all processes. An epoch's last step may be short."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.global_batch_size
        return self._epoch_order(epoch)[start : start + self.global_batch_size]

    def dealt(self, step: int) -> list[list[list[int]]]:
        """For each process, the rows of its micro-batches of the step."""
        return split_into_micro_batches(
            self.rows(step), self.lengths, self.micro_batch_size, self.num_processes
        )

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
        return first_few([self.encoded[index]["where"] for index in rows])

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
    def rows_per_process(self) -> int:
        """Rows of a full step that a process gets on average, rounded up."""
        return -(-self.global_batch_size // self.num_processes)
