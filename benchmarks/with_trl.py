"""TRL's SFTTrainer, with its defaults or with the best settings found for it."""

import tempfile
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from transformers.loss.loss_utils import ForCausalLMLoss
from trl import SFTConfig, SFTTrainer

from benchmarks import job as shared
from benchmarks.job import (
    Counted,
    Job,
    load_model,
    load_tokenizer,
    read_job,
    rows_in_order,
    write_result,
)
from benchmarks.with_trainer import config_of, hyperparameters, time_training

# bf16 is TRL's default. Packing on a CPU builds dense masks over packed rows, and is slower.
SETTINGS = {
    "defaults": {"train_sampling_strategy": "sequential"},
    "tuned": {"train_sampling_strategy": "group_by_length", "gradient_checkpointing": False},
}


def adapter_of(job: Job) -> LoraConfig | None:
    # GPT-2's Conv1D weights are (in, out), which fan_in_fan_out declares to peft.
    if job.method == "full":
        return None
    return LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=True, **shared.LORA)


def loss_from_logits(outputs: Any, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
    """The usual loss of the model instead of TRL's head, whose backward pass is slow on a CPU.

    TRL then runs the model a second time, forward only, for its metrics; no setting disables that.
    """
    logits = outputs.logits
    return ForCausalLMLoss(logits, labels, logits.shape[-1], num_items_in_batch)


def main() -> None:
    job = read_job()
    config = config_of(job)
    arguments = hyperparameters(job, SETTINGS[job.variant])
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=load_model(job, **config),
            args=SFTConfig(output_dir=folder, **arguments),
            train_dataset=Dataset.from_list(rows_in_order(job)),
            processing_class=load_tokenizer(job),
            peft_config=adapter_of(job),
            compute_loss_func=loss_from_logits if job.tuning.get("full_logits") else None,
        )
        trainer.data_collator = Counted(trainer.data_collator)
        clock, losses = time_training(trainer)
    resolved = {
        name: getattr(trainer.args, name) for name in ("bf16", "gradient_checkpointing", "optim")
    }
    settings = {**arguments, **resolved, **config}
    if job.tuning.get("full_logits"):
        settings["compute_loss_func"] = "ForCausalLMLoss"
    write_result(job, clock, losses, settings, trainer.data_collator.counts)


if __name__ == "__main__":
    main()
