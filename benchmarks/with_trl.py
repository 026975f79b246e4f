"""TRL's SFTTrainer: its defaults, or the best settings found for it."""

import tempfile

from datasets import Dataset
from peft import LoraConfig
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
from benchmarks.with_trainer import CONFIG, hyperparameters, time_training

# bf16 is TRL's default. Packing on a CPU builds dense masks over packed rows, and is slower.
SETTINGS = {
    "defaults": {"train_sampling_strategy": "sequential"},
    "tuned": {"train_sampling_strategy": "group_by_length", "gradient_checkpointing": False},
}


def adapter_of(job: Job) -> LoraConfig | None:
    # GPT-2's layers are Conv1D, whose weight is (in, out): fan_in_fan_out tells peft so.
    if job.method == "full":
        return None
    return LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=True, **shared.LORA)


def main() -> None:
    job = read_job()
    config = CONFIG[job.variant]
    arguments = hyperparameters(job, SETTINGS[job.variant])
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=load_model(job, **config),
            args=SFTConfig(output_dir=folder, **arguments),
            train_dataset=Dataset.from_list(rows_in_order(job)),
            processing_class=load_tokenizer(job),
            peft_config=adapter_of(job),
        )
        trainer.data_collator = Counted(trainer.data_collator)
        clock, losses = time_training(trainer)
    resolved = {
        name: getattr(trainer.args, name) for name in ("bf16", "gradient_checkpointing", "optim")
    }
    settings = {**arguments, **resolved, **config}
    write_result(job, clock, losses, settings, trainer.data_collator.counts)


if __name__ == "__main__":
    main()
