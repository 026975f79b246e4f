"""The devices a run uses, and the arithmetic that suits them."""

import os

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, is_bf16_available, set_seed

from llmkit.errors import UserError
from llmkit.schema import Recipe
from llmkit.state import Facts
from llmkit.tuner import BF16_PAYS, tune_cpu


def start_accelerator(recipe: Recipe, like: Facts | None = None) -> Accelerator:
    """The devices of this run, and the seed. like: facts of an earlier run, whose arithmetic it is
    to have."""
    use_cpu = recipe.train.device == "cpu" or not torch.accelerator.is_available()
    if recipe.train.mixed_precision == "fp16" and use_cpu:
        raise UserError("train.mixed_precision: fp16 needs a GPU; use bf16 or no")
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    num_devices = torch.accelerator.device_count()
    if not use_cpu and num_local > num_devices:
        raise UserError(
            f"--num-processes: {num_local}, but this machine has {num_devices} accelerators; start "
            "one process each, or set train.device=cpu"
        )
    PartialState(cpu=use_cpu)
    precision = choose_precision(recipe, use_cpu)
    if like is not None:
        if recipe.train.mixed_precision == "auto":
            precision = like.mixed_precision
        torch.set_float32_matmul_precision(like.float32_matmul_precision)
    (precision,) = broadcast_object_list([precision])
    accelerator = Accelerator(cpu=use_cpu, mixed_precision=precision)
    accelerator.gradient_accumulation_steps = 1  # the loop accumulates; the environment may not
    set_seed(recipe.seed)
    return accelerator


def choose_precision(recipe: Recipe, use_cpu: bool) -> str:
    """The recipe's mixed precision; of `auto` the one that is faster here."""
    if use_cpu:
        tuning = tune_cpu()
    if recipe.train.mixed_precision != "auto":
        return recipe.train.mixed_precision
    if use_cpu:
        return "bf16" if tuning.bf16_gain >= BF16_PAYS else "no"
    has_bf16 = torch.accelerator.current_accelerator().type != "cuda" or is_bf16_available()
    return "bf16" if has_bf16 else "no"
