"""Scores of a model on evaluation sets: by its loss, and by its predictions."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.batching import batches_by_length
from llmkit.config.generation import Generation
from llmkit.config.schema import Evaluation, Forward, Recipe
from llmkit.constants import IGNORE_INDEX
from llmkit.data.batches import UNLIMITED, collate
from llmkit.data.encoded_rows import EncodedRows
from llmkit.errors import count_of
from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.evaluation.one_pass import reads_rows_once, score_rows
from llmkit.generation.predict import predict_prompts
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import evaluating, move_to_device
from llmkit.model.loss import SupervisedLoss, unwrap_model
from llmkit.runtime.failures import memory_errors
from llmkit.runtime.signals import Signals, Stopped
from llmkit.scoring.scores import SystemResult, none_if_nan, score_predictions

Result = TypeVar("Result")
MAX_CHARACTER_TOKENS = 4  # a character has up to 4 bytes in UTF-8, and so up to 4 tokens


@dataclass(frozen=True)
class Evaluator:
    """Scores models on evaluation sets. All processes call it together and share the work."""

    tokenizer: PreTrainedTokenizerBase
    evaluation: Evaluation
    generation: Generation
    forward: Forward
    """The forward pass that computes the loss, `train.forward`."""
    seed: int
    """Seed of sampled predictions."""
    accelerator: Accelerator
    signals: Signals | None = None
    """Stop requests that interrupt a validation in several processes."""

    @classmethod
    def of(
        cls, recipe: Recipe, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator
    ) -> "Evaluator":
        """The evaluator of a recipe."""
        return cls(
            tokenizer,
            recipe.evaluation,
            recipe.generation,
            recipe.train.forward,
            recipe.seed,
            accelerator,
        )

    def evaluate(self, model: nn.Module, evaluation_set: EvaluationSet) -> SystemResult:
        """The model's `loss` (mean nats per supervised token of the whole set), and the task's own
        scores of its predictions."""
        with memory_errors(
            f"scoring {count_of(len(evaluation_set.rows), 'row')}",
            f"lower evaluation.batch_size ({self.evaluation.batch_size})",
            {"evaluation.batch_size": "FEWER"},
        ):
            return self._evaluate(model, evaluation_set)

    def _evaluate(self, model: nn.Module, evaluation_set: EvaluationSet) -> SystemResult:
        task, encoded = evaluation_set.task, evaluation_set.encoded
        nats, predictions = self._read(model, evaluation_set)
        losses = np.array([[of_row.sum(dtype=float), len(of_row)] for of_row in nats])
        if task.output == "text":
            losses = np.column_stack([losses, evaluation_set.num_bytes])
            return score_predictions(task, {"likelihood": losses}, [])
        references = evaluation_set.references
        is_encoded = evaluation_set.encoding_report.is_encoded
        row_losses = np.zeros((len(references), 2))  # rows without supervised tokens have no loss
        row_losses[is_encoded] = losses
        statistics = {"likelihood": row_losses, **task.row_statistics(predictions, references)}
        tokens = token_probabilities(encoded, nats, self.tokenizer)
        predictions = [
            replace(prediction, expected_tokens=next(tokens) if has_tokens else [])
            for prediction, has_tokens in zip(predictions, is_encoded, strict=True)
        ]
        return score_predictions(task, statistics, predictions)

    def evaluate_all(
        self, model: nn.Module, tests: Mapping[str, EvaluationSet]
    ) -> dict[str, SystemResult]:
        """The model's scores on each test set; the model is moved to the device."""
        move_to_device(model, self.accelerator.device)
        return {name: self.evaluate(model, test) for name, test in tests.items()}

    def evaluate_unconstrained(
        self, model: nn.Module, tests: Mapping[str, EvaluationSet]
    ) -> dict[str, SystemResult]:
        """The model's scores on the test sets for which it generates text, without the recipe's
        constraint; none if there is no constraint."""
        if self.generation.constraint is None:
            return {}
        free = replace(self, generation=self.generation.without_constraint())
        generated = {name: test for name, test in tests.items() if test.task.output == "completion"}
        return free.evaluate_all(model, generated)

    def _read(
        self, model: nn.Module, evaluation_set: EvaluationSet
    ) -> tuple[list[np.ndarray], list[Prediction]]:
        """The nats of each supervised token of each encoded row, and the prediction for each
        prompt."""
        output, precision = evaluation_set.task.output, self.accelerator.mixed_precision
        if reads_rows_once(output, self.generation, self.forward, precision):
            return self._read_once(model, evaluation_set)
        nats = token_losses(
            model, evaluation_set.encoded, self.evaluation.batch_size, self.accelerator,
            self.forward, self.signals,
        )  # fmt: skip
        return nats, self.predict(model, evaluation_set) if output != "text" else []

    def predict(self, model: nn.Module, evaluation_set: EvaluationSet) -> list[Prediction]:
        """The prediction for each prompt."""
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        numbers = range(rank, len(evaluation_set.prompts), world_size)

        def predict_mine() -> list[tuple[int, Prediction]]:
            with self.accelerator.autocast():
                mine = predict_prompts(
                    unwrap_model(model),
                    self.tokenizer,
                    [evaluation_set.prompts[number] for number in numbers],
                    evaluation_set.labels,
                    self._decoding,
                    self.evaluation.batch_size,
                    self.seed,
                    numbers,
                )
            return list(zip(numbers, mine, strict=True))

        gathered = gather_results(predict_mine, self.accelerator, self.signals)
        return [prediction for _, prediction in sorted(gathered, key=lambda pair: pair[0])]

    def _read_once(
        self, model: nn.Module, evaluation_set: EvaluationSet
    ) -> tuple[list[np.ndarray], list[Prediction]]:
        """The same as `_read`, with one pass over each row."""
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        lengths = EncodedRows(evaluation_set.encoded).lengths.tolist()
        batches = batches_by_length(lengths, self.evaluation.batch_size)
        others = np.flatnonzero(~evaluation_set.encoding_report.is_encoded).tolist()
        work = partial(
            score_rows,
            model,
            self.tokenizer,
            evaluation_set,
            batches[rank::world_size],
            others[rank::world_size],
            self._decoding,
            self.evaluation.batch_size,
            self.seed,
        )
        gathered = gather_results(work, self.accelerator, self.signals)
        _, predictions, nats = zip(*sorted(gathered, key=lambda row: row[0]), strict=True)
        return [of_row for of_row in nats if of_row is not None], list(predictions)

    @property
    def _decoding(self) -> Generation:
        """The decoding settings, with as many sequences as votes."""
        return self.generation.model_copy(update={"num_return_sequences": self.evaluation.votes})


def gather_results(
    work: Callable[[], list[Result]], accelerator: Accelerator, signals: Signals | None
) -> list[Result]:
    """Compute this process's share of some results; returns those of all processes.

    Raises Stopped in all processes if any of them was asked to stop, since none may leave while the
    others wait for its results.
    """
    mine, stopped_by = [], 0
    try:
        with signals.at_once() if signals else nullcontext():
            mine = work()
    except Stopped as stop:
        if accelerator.num_processes == 1:
            raise
        stopped_by = stop.number
    shares = gather_object([(mine, stopped_by)])
    number = max(number for _, number in shares)
    if number:
        raise Stopped(number)
    return [result for results, _ in shares for result in results]


def token_losses(
    model: nn.Module,
    encoded: Dataset,
    batch_size: int,
    accelerator: Accelerator,
    forward_pass: Forward,
    signals: Signals | None = None,
) -> list[np.ndarray]:
    """The nats of each supervised token, for each encoded row; all processes share the work."""
    rows = EncodedRows(encoded)
    batches = batches_by_length(rows.lengths.tolist(), batch_size)
    mine = batches[accelerator.process_index :: accelerator.num_processes]
    work = partial(batch_losses, model, rows, mine, accelerator, forward_pass)
    losses = [np.zeros(0, np.float32)] * len(encoded)
    for indices, parts in gather_results(work, accelerator, signals):
        for index, part in zip(indices, parts, strict=True):
            losses[index] = part
    return losses


@torch.inference_mode()
def batch_losses(
    model: nn.Module,
    rows: EncodedRows,
    batches: list[list[int]],
    accelerator: Accelerator,
    forward_pass: Forward,
) -> list[tuple[list[int], list[np.ndarray]]]:
    """Loss in nats of each supervised token; returns row indices and losses by row, per batch."""
    loss = SupervisedLoss(model, forward_pass)
    capacity = UNLIMITED if forward_pass == "padding_free" else None
    losses = []
    for indices in batches:
        batch = collate([rows[index] for index in indices], capacity)
        with evaluating(model), accelerator.autocast():
            nats = loss.token_losses(batch.to(accelerator.device)).cpu().numpy()
        row_of = batch.supervised_rows
        losses.append((indices, [nats[row_of == row] for row in range(len(indices))]))
    return losses


def token_probabilities(
    encoded: Dataset, nats: list[np.ndarray], tokenizer: PreTrainedTokenizerBase
) -> Iterator[list[tuple[str, float | None]]]:
    """Yields the tokens of the expected answer as text, with their probabilities, for each encoded
    row.

    Tokens that are only parts of a character are merged.
    """
    decode = lru_cache(maxsize=None)(lambda ids: tokenizer.decode(list(ids)))
    for labels, of_row in zip(encoded["labels"], nats, strict=True):
        answer = labels[1:]
        if IGNORE_INDEX in answer:  # earlier answers of a conversation are supervised, too
            answer = answer[len(answer) - answer[::-1].index(IGNORE_INDEX) :]
        tokens, ids, sum_nats = [], (), 0.0
        for token, token_nats in zip(answer, of_row[len(of_row) - len(answer) :].tolist(),
                                     strict=True):  # fmt: skip
            ids, sum_nats = (*ids, token), sum_nats + token_nats
            text = decode(ids)
            if not text.endswith("\N{REPLACEMENT CHARACTER}") or len(ids) == MAX_CHARACTER_TOKENS:
                tokens.append((text, none_if_nan(float(f"{math.exp(-sum_nats):.3g}"))))
                ids, sum_nats = (), 0.0
        yield tokens
