"""Steps of random rows, and their gradients: in one batch, or accumulated by the trainer.

Run as a script it is one of two processes that share the same steps:
gradient_cases.py MODEL FOLDER FIRST END writes each step's gradient to FOLDER/{seed}.safetensors.
"""

import random
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from datasets import Dataset
from known_bugs import put_back_from_environment
from safetensors.torch import save_file

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Recipe
from llmkit.constants import IGNORE_INDEX
from llmkit.data.batches import batch_capacity, collate
from llmkit.data.encode import FEATURES
from llmkit.data.encoded_rows import EncodedRows
from llmkit.model.load import load_model
from llmkit.model.loss import SupervisedLoss
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.memory import BEST_TOKENS, limit_of
from llmkit.training.step import flat_gradients, forward_backward
from llmkit.training.trainer import prepare_loss


def random_rows(rng: random.Random, count: int) -> Dataset:
    """Ragged rows; in some of them only the last token is supervised."""
    rows = []
    for index in range(count):
        ids = [rng.randrange(1, 300) for _ in range(rng.randrange(2, 60))]
        prompt = rng.randrange(len(ids))
        labels = [IGNORE_INDEX] * prompt + ids[prompt:]
        rows.append({"input_ids": ids, "labels": labels, "where": f"row {index}"})
    return Dataset.from_list(rows, features=FEATURES)


def random_step(seed: int) -> tuple[Dataset, Recipe, int]:
    """Rows, batch sizes and a step; every third time the last step of the epoch, which is short."""
    rng = random.Random(seed)
    global_batch_size = rng.randrange(2, 13)
    recipe = load_recipe(
        "summarize",
        overrides=(
            f"train.global_batch_size={global_batch_size}",
            f"train.forward={rng.choice(('padding_free', 'transformers'))}",
            f"train.micro_batch_size={rng.randrange(1, global_batch_size + 1)}",
            f"data.packing={rng.choice(['true', 'false'])}",
            "data.max_length=128",
            f"seed={seed}",
        ),
    )
    rows = random_rows(rng, 2 * global_batch_size + rng.randrange(1, global_batch_size))
    return rows, recipe, 2 if seed % 3 == 0 else rng.randrange(2)


def schedule_of(
    rows: Dataset, recipe: Recipe, accelerator: Accelerator | None = None
) -> BatchSchedule:
    """The batches of a run of the recipe."""
    accelerator = accelerator or Accelerator(cpu=True)
    return BatchSchedule(
        EncodedRows(rows),
        recipe.train,
        seed=recipe.seed,
        capacity=batch_capacity(recipe.data, recipe.train.forward),
        limit=limit_of(recipe.train, BEST_TOKENS),
        rank=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )


def load(model: str, dtype: torch.dtype) -> torch.nn.Module:
    return load_model(model)[0].to(dtype).eval()


def whole_gradient(model: torch.nn.Module, seed: int) -> torch.Tensor:
    """All rows of the step in one batch, its mean taken once."""
    rows, recipe, step = random_step(seed)
    schedule = schedule_of(rows, recipe)
    batch = collate([rows[index] for index in schedule.step_indices(step)])
    (SupervisedLoss(model, "transformers")(batch) / len(batch.targets)).backward()
    return flat_gradient(model)


def accumulated_gradient(
    model: torch.nn.Module, seed: int, accelerator: Accelerator
) -> torch.Tensor:
    """The same step by the training loop, with either engine."""
    rows, recipe, step = random_step(seed)
    schedule = schedule_of(rows, recipe, accelerator)
    loss = prepare_loss(model, recipe.train.forward, accelerator)
    gradients = flat_gradients(model.parameters()) if accelerator.num_processes > 1 else None
    forward_backward(loss, schedule.micro_batches(step), schedule, step, accelerator, gradients)
    return flat_gradient(model)


def flat_gradient(model: torch.nn.Module) -> torch.Tensor:
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad(set_to_none=True)
    return gradient.clone()


if __name__ == "__main__":
    put_back_from_environment()
    name, folder, first, end = sys.argv[1:]
    accelerator = Accelerator(cpu=True)
    for seed in range(int(first), int(end)):
        gradients = {
            str(dtype): accumulated_gradient(load(name, dtype), seed, accelerator)
            for dtype in (torch.float32, torch.float64)
        }
        if accelerator.is_main_process:
            save_file(gradients, Path(folder) / f"{seed}.safetensors")
    torch.distributed.destroy_process_group()
