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
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from llmkit.account import EncodingReport
from llmkit.batches import UNLIMITED, collate
from llmkit.choose import label_probabilities
from llmkit.constants import IGNORE_INDEX
from llmkit.encode import (
    count_tokens,
    encode_prompts,
    encode_rows,
    encode_text,
    encoding_options,
    max_prompt_tokens,
    require_rows,
    token_bytes,
)
from llmkit.errors import UserError, did_you_mean, first_few, printable
from llmkit.generate import generate
from llmkit.labels import label_of, spelled_out
from llmkit.loss import SupervisedLoss, unwrap_model
from llmkit.model import evaluating
from llmkit.prediction import Prediction
from llmkit.schema import Engine, Generation, Recipe
from llmkit.scores import SystemResult, TestSet, none_if_nan, score_predictions
from llmkit.tasks import Example, Row, Task, to_example

LONGEST_LETTER = 4  # bytes, and so tokens, of a character


@dataclass(frozen=True)
class EvaluationSet(TestSet):
    """Rows made ready for a model, once, before training: what cannot be scored is found then."""

    prompts: list[list[int]]
    """Token ids of each prompt; none for plain language modelling."""
    encoded: Dataset
    """Prompts with their completions, for the loss."""
    account: EncodingReport
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
    labels = encode_labels(answers, tokenizer) if task.chooses else {}
    prompts = prepare_prompts(examples, task, tokenizer, recipe, labels)
    limits = encoding_options(recipe, is_scored=True)
    encoded, account = encode_rows(rows, task, tokenizer, limits)
    require_rows(account, limits)
    return EvaluationSet(
        task, rows, examples, answers, scored_rows.unlabeled, prompts, encoded, account, labels
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
    if task.is_language_modelling:
        return []
    if not task.chooses:
        return encode_prompts(examples, tokenizer, max_prompt_tokens(recipe))
    check_labels(examples, labels)
    longest = max(map(len, labels.values()))
    return encode_prompts(examples, tokenizer, recipe.max_length - longest)


def count_answers(rows: Iterable[Row], task: Task) -> Counter[str]:
    """How often each answer is the one to learn; nothing where the task does not ask."""
    if task.majority is None:
        return Counter()
    if task.chooses:
        answers = Counter(label_of(row[task.target]) for row in rows)
    else:
        answers = Counter(task.answer_of(to_example(row, task).completion) for row in rows)
    del answers[""]  # rows that are left out
    return answers


def encode_labels(
    answers: Iterable[str], tokenizer: PreTrainedTokenizerBase
) -> dict[str, list[int]]:
    """Token ids of each label as a completion; labels in alphabetical order."""
    labels = sorted(answers)
    if not labels:
        raise UserError(
            "data.train: no row has a label; name another column with data.columns.label"
        )
    if len(labels) < 2:
        raise UserError(
            f"data.train: all rows have the label {labels[0]!r}; classify needs at least two labels"
        )
    ids = encode_text([f" {label}" for label in labels], tokenizer)
    return {
        label: [*tokens, tokenizer.eos_token_id] for label, tokens in zip(labels, ids, strict=True)
    }


def check_labels(examples: list[Example], labels: Iterable[str]) -> None:
    """Raise UserError for a label that no training row has."""
    labels = list(labels)
    strange: dict[str, list[str]] = {}
    for example in examples:
        if example.references[0] not in labels:
            strange.setdefault(example.references[0], []).append(example.where)
    if strange:
        places = first_few([where for wheres in strange.values() for where in wheres])
        names = first_few([spelled_out(printable(label, 40)) for label in strange])
        known = first_few([spelled_out(printable(label, 40)) for label in labels])
        raise UserError(
            f"{places}: no training row has the label{'s' if len(strange) > 1 else ''} {names}; "
            f"training rows have {known}: fix the rows, or add rows with the label to data.train"
            f"{did_you_mean(next(iter(strange)), labels)}"
        )


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
        model, encoded, recipe.evaluation.batch_size, accelerator, recipe.train.engine
    )
    losses = np.array([[each.sum(dtype=float), len(each)] for each in nats])
    if task.is_language_modelling:
        losses = np.column_stack([losses, count_bytes(evaluation_set, tokenizer)])
        return score_predictions(task, {"likelihood": losses}, [])
    predictions, ended = predict(model, tokenizer, evaluation_set, recipe, accelerator)
    references = evaluation_set.references
    of_all = np.zeros((len(references), 2))  # rows without anything to learn have no loss
    is_encoded = evaluation_set.account.column("trained") > 0
    of_all[is_encoded] = losses
    tallies = {"likelihood": of_all, **task.tally(predictions, references)}
    tokens = iter(token_probabilities(encoded, nats, tokenizer))
    expected = [next(tokens) if each else [] for each in is_encoded]
    return replace(score_predictions(task, tallies, predictions, ended), expected=expected)


@torch.inference_mode()
def token_losses(
    model: nn.Module,
    encoded: Dataset,
    batch_size: int,
    accelerator: Accelerator,
    engine: Engine,
) -> list[np.ndarray]:
    """The nats of each supervised token of each encoded row, the work shared by all processes."""
    loss = SupervisedLoss(model, engine)
    capacity = UNLIMITED if engine == "fast" else None
    by_length = count_tokens(encoded)[0].argsort(kind="stable").tolist()
    starts = range(0, len(by_length), batch_size)
    mine = []
    for start in starts[accelerator.process_index :: accelerator.num_processes]:
        indices = by_length[start : start + batch_size]
        batch = collate([encoded[index] for index in indices], capacity)
        with evaluating(model), accelerator.autocast():
            nats, rows = loss.by_token(**{k: v.to(accelerator.device) for k, v in batch.items()})
        nats, rows = nats.cpu().numpy(), rows.cpu().numpy()
        mine.append((indices, [nats[rows == row] for row in range(len(indices))]))
    each = [np.zeros(0, np.float32)] * len(by_length)
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
    is_encoded = evaluation_set.account.column("trained") > 0
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
) -> tuple[list[Prediction], list[bool] | None]:
    """Each prompt's likeliest label with the probability of every label; or, for tasks without
    labels, its completion, stripped, with the votes, and whether the completion ended by itself."""
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
    numbered = [(rank + i * world, said) for i, said in enumerate(mine)]
    said = [each for _, each in sorted(gather_object(numbered), key=lambda pair: pair[0])]
    predictions, ended = map(list, zip(*said, strict=True))
    return predictions, None if evaluation_set.labels else ended


def predict_prompts(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    labels: dict[str, list[int]],
    generation: Generation,
    batch_size: int,
    seed: int,
    numbers: Iterable[int],
) -> list[tuple[Prediction, bool | None]]:
    """Each prompt's prediction, and whether its text ended by itself (None for a label).

    Args:
        prompts: Token ids of each prompt.
        labels: Token ids of each label to choose from; if empty, text is generated.
        generation: How text is decoded; several sequences become the prediction's votes.
        batch_size: Prompts per forward pass.
        seed: Determines, together with a prompt's number, what is sampled for it.
        numbers: The number of each prompt.
    """
    if labels:
        chosen = label_probabilities(model, prompts, labels, batch_size)
        return [(Prediction(max(each, key=each.get), each), None) for each in chosen]
    predictions = []
    for made in generate(model, tokenizer, prompts, generation, batch_size, seed, numbers):
        texts = [completion.text.strip() for completion in made]
        votes = texts if len(texts) > 1 else None
        predictions.append((Prediction(texts[0], votes=votes), made[0].ended))
    return predictions


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
