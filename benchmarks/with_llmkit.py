"""llmkit, called through its functions, with defaults for all settings that affect speed."""

from typing import Any

from accelerate import Accelerator
from datasets import load_from_disk
from torch import nn

from benchmarks import job as shared
from benchmarks.job import Clock, Job, read_job, write_result
from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Recipe
from llmkit.data.encoded_rows import EncodedRows
from llmkit.model.load import load_model
from llmkit.model.trainable import set_activation_checkpointing, trainable_model
from llmkit.runtime.devices import start_accelerator
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.pace import Pace
from llmkit.training.trainer import Trainer
from llmkit.workflows.training_setup import plan_training


class Log:
    """Replaces RunLog: records the time and the loss of each step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.losses: list[float] = []

    def step(self, step: int, *, loss: float, **others: float) -> None:
        self.clock.mark()
        self.losses.append(loss)

    def skipped_step(self, step: int, reason: str) -> None:
        raise RuntimeError(reason)

    def note(self, step: int, text: str) -> None:
        raise RuntimeError(text)

    def predicted_pace(self, pace: Pace) -> None:
        """Nothing: the benchmark has its own clock."""


def overrides_of(job: Job) -> dict[str, Any]:
    """The job as recipe keys."""
    return {
        "model": job.model,
        "seed": shared.SEED,
        "train.method": job.method,
        "train.epochs": "null",
        "train.max_steps": job.steps,
        "train.global_batch_size": job.batch,
        "train.dropout": job.dropout,
        "train.learning_rate": shared.LEARNING_RATE,
        "train.schedule": "constant",
        "train.warmup_steps": 0,
        "train.weight_decay": shared.WEIGHT_DECAY,
        "train.betas": list(shared.BETAS),
        "train.max_grad_norm": shared.MAX_GRAD_NORM,
        **{f"train.lora.{name}": value for name, value in shared.LORA.items()},
    }


def build_trainer(
    model: nn.Module, rows: EncodedRows, recipe: Recipe, accelerator: Accelerator
) -> tuple[Trainer, BatchSchedule]:
    """The trainer of a recipe, as `finetune` builds it, and its batches."""
    memory, schedule = plan_training(
        model, rows, recipe.train, recipe.data, recipe.seed, accelerator
    )
    set_activation_checkpointing(model, memory.activation_checkpointing)
    return Trainer.build(model, schedule, recipe.train, accelerator), schedule


def run(job: Job, recipe: Recipe, settings: dict[str, Any]) -> None:
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    model, _ = load_model(job.model)
    model = trainable_model(model, recipe.train)
    rows = EncodedRows(load_from_disk(job.rows))
    trainer, schedule = build_trainer(model, rows, recipe, accelerator)
    log = Log(Clock())
    while trainer.progress.step < schedule.num_steps:
        trainer.train_step(log)
    steps = range(job.steps)
    counts = {
        "tokens": sum(map(schedule.num_tokens, steps)),
        "supervised": sum(map(schedule.num_supervised, steps)),
    }
    chosen = {
        "forward": recipe.train.forward,
        "mixed_precision": accelerator.mixed_precision,
        "micro_batch": str(schedule.limit),
    }
    write_result(job, log.clock, log.losses, settings | chosen, counts)


def main() -> None:
    job = read_job()
    given = overrides_of(job)
    recipe = load_recipe(job.task, overrides=tuple(f"{k}={v}" for k, v in given.items()))
    left_out = {"model", "train.epochs"} | {k for k in given if k.startswith("train.lora.")}
    settings = {k: v for k, v in given.items() if k not in left_out}
    run(job, recipe, settings)


if __name__ == "__main__":
    main()
