"""Scores of a model on rows: by loss, and by the task's own metric on generated text."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.batching import batches_by_length
from llmkit.config.schema import Forward, Recipe
from llmkit.constants import IGNORE_INDEX
from llmkit.data.answers import check_labels, encode_labels
from llmkit.data.batches import UNLIMITED, collate
from llmkit.data.encode import EncodingOptions, encode_prompts, encode_rows, max_prompt_tokens
from llmkit.data.encoded_rows import count_tokens, token_bytes
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.findings import find_same_ids, refuse_errors
from llmkit.data.rows import Rows
from llmkit.data.splits import open_general_text
from llmkit.generation.predict import predict_prompts
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import evaluating
from llmkit.model.loss import SupervisedLoss, unwrap_model
from llmkit.scoring.scores import SystemResult, none_if_nan, score_predictions
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Example, Row, Task

LONGEST_LETTER = 4  # bytes, and so tokens, of a character


@dataclass(frozen=True)
class EvaluationSet(TestSet):
    """Rows made ready for a model, once, before training: what cannot be scored is found then."""

    prompts: list[list[int]]
    """Token ids of each prompt; none for plain language modelling."""
    encoded: Dataset
    """Prompts with their completions, for the loss."""
    encoding_report: EncodingReport
    """What became of the rows in it."""
    labels: dict[str, list[int]]
    """Token ids of each label to choose from, end-of-text last; none for other tasks."""


def prepare_evaluation(
    rows: Iterable[Row],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    answers: Counter[str],
) -> EvaluationSet:
    """answers: those of the training rows, as `count_answers` gives them."""
    scored_rows = TestSet.of(rows, task, answers)
    task, rows, examples = scored_rows.task, scored_rows.rows, scored_rows.examples
    labels = encode_labels(answers, tokenizer) if task.output == "label" else {}
    prompts = prepare_prompts(examples, task, tokenizer, recipe, labels)
    options = EncodingOptions.of(recipe.data, is_scored=True)
    encoded, encoding_report = encode_rows(rows, task, tokenizer, options)
    encoding_report.require_supervised(options.max_length, options.truncate_completion)
    return EvaluationSet(
        task,
        rows,
        examples,
        answers,
        scored_rows.unlabeled,
        prompts,
        encoded,
        encoding_report,
        labels,
    )


def prepare_prompts(
    examples: list[Example],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    labels: dict[str, list[int]],
) -> list[list[int]]:
    """Token ids of each prompt; none for plain language modelling.

    Raises UserError where a prompt leaves no room for what is to follow, or a row has a label that
    is not among the labels.
    """
    if task.output == "text":
        return []
    if task.output == "label":
        check_labels(examples, labels)
    max_tokens = max_prompt_tokens(recipe.data.max_length, recipe.generation.max_new_tokens, labels)
    return encode_prompts(examples, tokenizer, max_tokens)


def evaluate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    evaluation_set: EvaluationSet,
    recipe: Recipe,
    accelerator: Accelerator,
) -> SystemResult:
    """A model's scores, the work shared by all processes: `loss` (mean nats per supervised token
    over the whole set) and the task's own."""
    task, encoded = evaluation_set.task, evaluation_set.encoded
    nats = token_losses(
        model, encoded, recipe.evaluation.batch_size, accelerator, recipe.train.forward
    )
    losses = np.array([[each.sum(dtype=float), len(each)] for each in nats])
    if task.output == "text":
        losses = np.column_stack([losses, count_bytes(evaluation_set, tokenizer)])
        return score_predictions(task, {"likelihood": losses}, [])
    predictions = predict(model, tokenizer, evaluation_set, recipe, accelerator)
    references = evaluation_set.references
    of_all = np.zeros((len(references), 2))  # rows without anything to learn have no loss
    is_encoded = evaluation_set.encoding_report.is_encoded
    of_all[is_encoded] = losses
    statistics = {"likelihood": of_all, **task.row_statistics(predictions, references)}
    tokens = iter(token_probabilities(encoded, nats, tokenizer))
    predictions = [
        replace(prediction, expected_tokens=next(tokens) if has_tokens else [])
        for prediction, has_tokens in zip(predictions, is_encoded, strict=True)
    ]
    return score_predictions(task, statistics, predictions)


@torch.inference_mode()
def token_losses(
    model: nn.Module,
    encoded: Dataset,
    batch_size: int,
    accelerator: Accelerator,
    forward_pass: Forward,
) -> list[np.ndarray]:
    """The nats of each supervised token of each encoded row, the work shared by all processes."""
    loss = SupervisedLoss(model, forward_pass)
    capacity = UNLIMITED if forward_pass == "padding_free" else None
    batches = batches_by_length(count_tokens(encoded)[0].tolist(), batch_size)
    mine = []
    for indices in batches[accelerator.process_index :: accelerator.num_processes]:
        batch = collate([encoded[index] for index in indices], capacity)
        with evaluating(model), accelerator.autocast():
            nats, rows = loss.token_losses(
                **{k: v.to(accelerator.device) for k, v in batch.items()}
            )
        nats, rows = nats.cpu().numpy(), rows.cpu().numpy()
        mine.append((indices, [nats[rows == row] for row in range(len(indices))]))
    each = [np.zeros(0, np.float32)] * len(encoded)
    for indices, parts in gather_object(mine):
        for index, part in zip(indices, parts, strict=True):
            each[index] = part
    return each


def token_probabilities(
    encoded: Dataset, nats: list[np.ndarray], tokenizer: PreTrainedTokenizerBase
) -> Iterator[list[tuple[str, float | None]]]:
    """Of each encoded row the answer's tokens, as texts, and how probable each was; tokens that
    are a letter only together stay together."""
    spell = lru_cache(maxsize=None)(lambda ids: tokenizer.decode(list(ids)))
    for labels, row in zip(encoded["labels"], nats, strict=True):
        answer = labels[1:]
        if IGNORE_INDEX in answer:  # earlier answers of a conversation are learnt, too
            answer = answer[len(answer) - answer[::-1].index(IGNORE_INDEX) :]
        tokens, ids, nats_of_ids = [], (), 0.0
        for token, each in zip(answer, row[len(row) - len(answer) :].tolist(), strict=True):
            ids, nats_of_ids = (*ids, token), nats_of_ids + each
            if not spell(ids).endswith("\N{REPLACEMENT CHARACTER}") or len(ids) == LONGEST_LETTER:
                probability = none_if_nan(float(f"{math.exp(-nats_of_ids):.3g}"))
                tokens.append((spell(ids), probability))
                ids, nats_of_ids = (), 0.0
        yield tokens


def count_bytes(evaluation_set: EvaluationSet, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """For each encoded row, the bytes of text of its predicted tokens: all but the first.

    Rows of plain language modelling are cut from one stream of the texts, in which each follows an
    end-of-text.
    """
    is_encoded = evaluation_set.encoding_report.is_encoded
    examples = zip(evaluation_set.examples, is_encoded, strict=True)
    texts = [example.completion for example, is_kept in examples if is_kept]
    sums = np.cumsum(np.concatenate([[0], *token_bytes(texts, tokenizer)]))
    num_predicted = count_tokens(evaluation_set.encoded)[0] - 1
    return np.diff(sums[np.cumsum([0, *num_predicted])])


def predict(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    evaluation_set: EvaluationSet,
    recipe: Recipe,
    accelerator: Accelerator,
) -> list[Prediction]:
    """The prediction for each prompt, the work shared by all processes."""
    rank, world = accelerator.process_index, accelerator.num_processes
    numbers = range(rank, len(evaluation_set.prompts), world)
    votes = recipe.evaluation.votes
    with accelerator.autocast():
        mine = predict_prompts(
            unwrap_model(model),
            tokenizer,
            [evaluation_set.prompts[number] for number in numbers],
            evaluation_set.labels,
            recipe.generation.model_copy(update={"num_return_sequences": votes}),
            recipe.evaluation.batch_size,
            recipe.seed,
            numbers,
        )
    gathered = gather_object(list(zip(numbers, mine, strict=True)))
    return [prediction for _, prediction in sorted(gathered, key=lambda pair: pair[0])]


def score_model(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tests: dict[str, EvaluationSet],
    recipe: Recipe,
    accelerator: Accelerator,
) -> dict[str, SystemResult]:
    """What a model scores on each test set."""
    model.to(accelerator.device)
    return {
        name: evaluate(model, tokenizer, test, recipe, accelerator) for name, test in tests.items()
    }


def prepare_tests(
    splits: dict[str, Rows],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    answers: Counter[str],
) -> dict[str, EvaluationSet]:
    """All that a model is scored on in the end: `test` first, then what else the recipe names."""
    tests = {
        name: prepare_evaluation(splits[name], task, tokenizer, recipe, answers)
        for name in ("test", *recipe.data.tests)
    }
    refuse_errors(
        [finding for name, test in tests.items() for finding in find_same_ids(name, test.rows)]
    )
    if recipe.evaluation.general_text is not None:
        rows = open_general_text(recipe.evaluation.general_text)
        tests["general text"] = prepare_evaluation(rows, rows.task, tokenizer, recipe, Counter())
    return tests
