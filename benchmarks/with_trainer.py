"""The Hugging Face Trainer, with its defaults or with the best settings found for it."""

import tempfile
from typing import Any

from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks import job as shared
from benchmarks.job import (
    Clock,
    Counted,
    Job,
    load_model,
    load_tokenizer,
    read_job,
    rows_in_order,
    write_result,
)

# Settings that any user would choose; the rows are already in the random order of llmkit.
SETTINGS = {
    "defaults": {"train_sampling_strategy": "sequential"},
    "tuned": {"train_sampling_strategy": "group_by_length", "bf16": True},
}


class Marks(TrainerCallback):
    """Marks the end of each step on the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.clock.mark()


def config_of(job: Job) -> dict[str, str]:
    """Config changes of a tuned contestant that do not change the function of the model."""
    if job.variant == "defaults":
        return {}
    # gelu_new takes eight kernels, this one.
    gelu = {"activation_function": "gelu_pytorch_tanh"}
    return {**gelu, "attn_implementation": job.tuning["attention"]}


def hyperparameters(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a Trainer: those of the contestant and those that all contestants share."""
    if job.same_batches:
        settings = settings | {"train_sampling_strategy": "sequential"}
    split = job.tuning.get("split", 1)
    return {
        "use_cpu": True,
        "per_device_train_batch_size": job.batch // split,
        "gradient_accumulation_steps": split,
        "max_steps": job.steps,
        "learning_rate": shared.LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": shared.WEIGHT_DECAY,
        "adam_beta1": shared.BETAS[0],
        "adam_beta2": shared.BETAS[1],
        "max_grad_norm": shared.MAX_GRAD_NORM,
        "seed": shared.SEED,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **settings,
    }


def time_training(trainer: Trainer) -> tuple[Clock, list[float]]:
    """Train; return the times and losses of the steps."""
    clock = Clock()
    trainer.add_callback(Marks(clock))
    trainer.train()
    return clock, [line["loss"] for line in trainer.state.log_history if "loss" in line]


def main() -> None:
    job = read_job()
    config = config_of(job)
    arguments = hyperparameters(job, SETTINGS[job.variant])
    tokenizer = load_tokenizer(job)
    collator = Counted(DataCollatorForSeq2Seq(tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=load_model(job, **config),
            args=TrainingArguments(output_dir=folder, **arguments),
            train_dataset=Dataset.from_list(rows_in_order(job)),
            data_collator=collator,
            processing_class=tokenizer,
        )
        clock, losses = time_training(trainer)
    settings = {**arguments, **config, "optim": trainer.args.optim}
    write_result(job, clock, losses, settings, collator.counts)


if __name__ == "__main__":
    main()
