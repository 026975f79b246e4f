"""Scores of a model on rows: by loss, and by the task's own metric on generated text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.account import Account
from llmkit.batches import ENDLESS, collate
from llmkit.encode import (
    count_tokens,
    encode_prompts,
    encode_rows,
    limits_of,
    require_rows,
    room_for_prompt,
)
from llmkit.generate import generate
from llmkit.loss import SupervisedLoss, causal_lm, num_supervised
from llmkit.schema import Engine, Recipe
from llmkit.tasks import Example, Row, Scores, Task, to_example
from llmkit.tasks.pretrain import compressor_bits_per_byte


@dataclass(frozen=True)
class EvaluationSet:
    """Rows made ready to be scored, once, before training: what cannot be scored is found then."""

    task: Task
    rows: list[Row]
    examples: list[Example]
    prompts: list[list[int]]
    """Token ids of each prompt; none for plain language modelling."""
    encoded: Dataset
    """Prompts with their completions, for the loss."""
    account: Account
    """What became of the rows in it."""


def prepare_evaluation(
    rows: Iterable[Row], task: Task, tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> EvaluationSet:
    rows = list(rows)
    examples = [to_example(row, task, recipe.template) for row in rows]
    prompts = []
    if not task.is_language_modelling:
        prompts = encode_prompts(examples, tokenizer, room_for_prompt(recipe))
    limits = limits_of(recipe, is_scored=True)
    encoded, account = encode_rows(rows, task, tokenizer, limits)
    require_rows(account, limits)
    return EvaluationSet(task, rows, examples, prompts, encoded, account)


def evaluate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    evaluation_set: EvaluationSet,
    recipe: Recipe,
    accelerator: Accelerator,
) -> tuple[Scores, list[str]]:
    """(scores, predictions) of a model, the work shared by all processes.

    Scores hold `loss` (mean nats per supervised token over the whole set) and the task's own.
    """
    batch_size = recipe.evaluation.batch_size
    loss_sum, num_tokens = sum_loss(
        model, evaluation_set.encoded, batch_size, accelerator, recipe.train.engine
    )
    scores = {"loss": loss_sum / num_tokens}
    if evaluation_set.task.is_language_modelling:
        return scores | language_modelling_scores(loss_sum, num_tokens, evaluation_set.rows), []
    predictions = predict(model, tokenizer, evaluation_set.prompts, recipe, accelerator)
    references = [example.references for example in evaluation_set.examples]
    return scores | evaluation_set.task.score(predictions, references), predictions


@torch.inference_mode()
def sum_loss(
    model: nn.Module,
    encoded: Dataset,
    batch_size: int,
    accelerator: Accelerator,
    engine: Engine,
) -> tuple[float, int]:
    """(sum of nats, supervised tokens) over the whole set and all processes."""
    loss = SupervisedLoss(model, engine)
    capacity = ENDLESS if engine == "fast" else None
    was_training = model.training
    model.eval()
    by_length = count_tokens(encoded)[0].argsort(kind="stable").tolist()
    starts = range(0, len(by_length), batch_size)
    totals = torch.zeros(2, dtype=torch.float64)
    for start in starts[accelerator.process_index :: accelerator.num_processes]:
        batch = collate([encoded[i] for i in by_length[start : start + batch_size]], capacity)
        num_tokens = num_supervised(batch["labels"])
        with accelerator.autocast():
            loss_sum = loss(**{k: v.to(accelerator.device) for k, v in batch.items()})
        totals += torch.tensor([loss_sum.item(), num_tokens], dtype=torch.float64)
    model.train(was_training)
    loss_sum, num_tokens = accelerator.reduce(totals.to(_float64_device(accelerator))).tolist()
    return loss_sum, int(num_tokens)


def predict(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    recipe: Recipe,
    accelerator: Accelerator,
) -> list[str]:
    """The first completion of each prompt, white space around it removed."""
    rank, world = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(recipe.seed + rank)  # of use to sampling only
    with accelerator.autocast():
        completions = generate(
            causal_lm(model),
            tokenizer,
            prompts[rank::world],
            recipe.generation,
            recipe.evaluation.batch_size,
        )
    mine = [(rank + i * world, texts[0].strip()) for i, texts in enumerate(completions)]
    return [text for _, text in sorted(gather_object(mine))]


def language_modelling_scores(loss_sum: float, num_tokens: int, rows: list[Row]) -> Scores:
    num_bytes = sum(len(row["text"].encode()) for row in rows)
    return {
        "perplexity": math.exp(min(loss_sum / num_tokens, 700)),  # above, a float overflows
        "bits_per_byte": loss_sum / math.log(2) / num_bytes,
    }


def baseline_scores(
    evaluation_set: EvaluationSet, num_rows: int | None = None
) -> dict[str, Scores]:
    """What the task's simple answers score on the same rows, or on the first of them."""
    task, rows = evaluation_set.task, evaluation_set.rows[:num_rows]
    if task.is_language_modelling:
        texts = [row["text"] for row in rows]
        return {"xz compressor": {"bits_per_byte": compressor_bits_per_byte(texts)}}
    references = [example.references for example in evaluation_set.examples[:num_rows]]
    return {
        name: task.score([answer(row) for row in rows], references)
        for name, answer in task.baselines.items()
    }


def _float64_device(accelerator: Accelerator) -> torch.device:
    """Apple's GPUs have no float64; everything else keeps the sums where they are."""
    return torch.device("cpu") if accelerator.device.type == "mps" else accelerator.device
