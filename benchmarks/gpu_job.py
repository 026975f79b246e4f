"""One contestant of `benchmarks.gpu` in a process of its own: it trains and measures itself."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

IGNORE_INDEX = -100  # the first token is not predicted; the Trainers would count it
SEED = 0
LEARNING_RATE = 5e-5  # constant
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0
MATMUL_SIZE = 8192  # of the square product whose rate is measured
MATMUL_REPEATS = 20
FAST_MODEL = {"attn_implementation": "sdpa", "activation_function": "gelu_pytorch_tanh"}
VOCABULARY_MULTIPLE = 64  # nanoGPT pads GPT-2's vocabulary of 50,257 to 50,304


@dataclass(frozen=True)
class GpuJob:
    """What a contestant trains on: the same random tokens for all of them."""

    contestant: str
    device: str
    """cuda or cpu."""
    config: dict[str, Any]
    """Changes of the config of GPT-2 124M."""
    rows: int
    """Rows per step."""
    length: int
    """Tokens per row, all of them supervised but the first."""
    warmup: int
    """First steps, which are not timed."""
    steps: int
    """Timed steps."""


class StepClock:
    """Times the steps after the warm-up; waits for the device before and after them only."""

    def __init__(self, job: GpuJob) -> None:
        self.job, self.step = job, 0
        self.started = self.seconds = 0.0

    def mark(self) -> None:
        """To be called after each step."""
        self.step += 1
        if self.step == self.job.warmup:
            synchronize(self.job)
            self.started = time.perf_counter()
        if self.step == self.job.warmup + self.job.steps:
            synchronize(self.job)
            self.seconds = time.perf_counter() - self.started


def synchronize(job: GpuJob) -> None:
    if job.device == "cuda":
        torch.cuda.synchronize()


def random_rows(job: GpuJob) -> list[dict[str, Any]]:
    """The rows of all steps, in order."""
    config = GPT2Config(**job.config)
    generator = torch.Generator().manual_seed(SEED)
    shape = (job.warmup + job.steps) * job.rows, job.length
    ids = torch.randint(config.vocab_size, shape, generator=generator).tolist()
    return [{"input_ids": row, "labels": [IGNORE_INDEX, *row[1:]]} for row in ids]


def random_model(job: GpuJob, **changes: Any) -> GPT2LMHeadModel:
    torch.manual_seed(SEED)
    return GPT2LMHeadModel(GPT2Config(**(job.config | changes)))


def train_llmkit(job: GpuJob, clock: StepClock, *, compiled: bool = False) -> list[float]:
    """llmkit with its defaults, through its functions. compiled: with train.compile."""
    from llmkit.config.schema import Train
    from llmkit.data.batches import UNLIMITED
    from llmkit.data.encode import FEATURES
    from llmkit.data.encoded_rows import EncodedRows
    from llmkit.families import family_of
    from llmkit.model.trainable import set_activation_checkpointing, trainable_model
    from llmkit.runtime.devices import start_accelerator
    from llmkit.training.batch_schedule import BatchSchedule
    from llmkit.training.memory import plan_memory
    from llmkit.training.trainer import Trainer

    settings = Train(
        max_steps=job.warmup + job.steps,
        global_batch_size=job.rows,
        learning_rate=LEARNING_RATE,
        schedule="constant",
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
        compile=compiled,
    )
    device = "auto" if job.device == "cuda" else "cpu"
    accelerator = start_accelerator(device, settings.mixed_precision, SEED)
    model = random_model(job)
    family_of(model.config).optimize(model)
    model = trainable_model(model, settings)
    rows = [{**row, "where": ""} for row in random_rows(job)]
    encoded = EncodedRows(Dataset.from_list(rows, features=FEATURES))
    memory = plan_memory(model, settings, encoded, accelerator)
    set_activation_checkpointing(model, memory.activation_checkpointing)
    schedule = BatchSchedule(encoded, settings, seed=SEED, capacity=UNLIMITED, limit=memory.limit)
    losses: list[float] = []

    class Log:
        def step(self, step: int, *, loss: float, **others: float) -> None:
            losses.append(loss)
            clock.mark()

        def skipped_step(self, step: int, reason: str) -> None:
            raise RuntimeError(reason)

        def note(self, step: int, text: str) -> None:
            print(text, file=sys.stderr)

    trainer = Trainer.build(model, schedule, settings, accelerator)
    while trainer.progress.step < schedule.num_steps:
        trainer.train_step(Log())
    return losses


def trainer_arguments(job: GpuJob, folder: str) -> dict[str, Any]:
    """Arguments of the Trainers, with the settings that make them fast: bf16, fused AdamW."""
    return {
        "output_dir": folder,
        "use_cpu": job.device == "cpu",
        "bf16": True,
        "optim": "adamw_torch_fused",
        "per_device_train_batch_size": job.rows,
        "gradient_checkpointing": False,
        "max_steps": job.warmup + job.steps,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "train_sampling_strategy": "sequential",
        "seed": SEED,
        "logging_steps": job.warmup + job.steps,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def run_trainer(
    job: GpuJob, clock: StepClock, trainer_class: type, arguments_class: type, **options: Any
) -> list[float]:
    """Train with one of the Trainers. Rows are of equal length, so that batches have no padding."""
    from transformers import TrainerCallback

    class Marks(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.mark()

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_class(
            model=random_model(job, **FAST_MODEL),
            args=arguments_class(**trainer_arguments(job, folder)),
            train_dataset=Dataset.from_list(random_rows(job)),
            callbacks=[Marks()],
            **options,
        )
        trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def train_hf_trainer(job: GpuJob, clock: StepClock) -> list[float]:
    """The Hugging Face Trainer."""
    from transformers import Trainer, TrainingArguments, default_data_collator

    return run_trainer(job, clock, Trainer, TrainingArguments, data_collator=default_data_collator)


def train_trl(job: GpuJob, clock: StepClock) -> list[float]:
    """TRL's SFTTrainer."""
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from llmkit.paths import PACKAGE

    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "embedded" / "gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    return run_trainer(job, clock, SFTTrainer, SFTConfig, processing_class=tokenizer)


def train_plain_loop(job: GpuJob, clock: StepClock) -> list[float]:
    """A compiled loop like nanoGPT's: padded vocabulary, bf16 autocast, fused AdamW, one batch."""
    torch.set_float32_matmul_precision("high")
    vocab_size = GPT2Config(**job.config).vocab_size
    padded = -(-vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    model = random_model(job, vocab_size=padded, **FAST_MODEL).to(job.device).train()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY},
              {"params": others, "weight_decay": 0.0}]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)
    ids = torch.tensor([row["input_ids"] for row in random_rows(job)]).split(job.rows)

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())

    compiled = torch.compile(loss_of, backend="inductor" if job.device == "cuda" else "aot_eager")
    for batch in ids:
        if job.device == "cuda":
            batch = batch.pin_memory().to("cuda", non_blocking=True)
        with torch.autocast(job.device, torch.bfloat16):
            loss = compiled(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.mark()
    return [loss.item()]


CONTESTANTS: dict[str, Callable[[GpuJob, StepClock], list[float]]] = {
    "llmkit": train_llmkit,
    "llmkit, compiled": partial(train_llmkit, compiled=True),
    "HF Trainer": train_hf_trainer,
    "TRL": train_trl,
    "compiled loop": train_plain_loop,
}


def matmul_flops(device: str, size: int = MATMUL_SIZE) -> float:
    """FLOP/s of a large bf16 product on the device, as a bound that can be reached."""
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    a @ b
    wait()
    started = time.perf_counter()
    for _ in range(MATMUL_REPEATS):
        a @ b
    wait()
    return MATMUL_REPEATS * 2 * size**3 / (time.perf_counter() - started)


def run(job: GpuJob) -> dict[str, Any]:
    """Train; returns the job, seconds of the timed steps, the last loss and the peak memory."""
    clock = StepClock(job)
    losses = CONTESTANTS[job.contestant](job, clock)
    if clock.step != job.warmup + job.steps:
        raise RuntimeError(f"{job.contestant} took {clock.step} steps")
    peak = torch.cuda.max_memory_allocated() if job.device == "cuda" else None
    return {**asdict(job), "seconds": clock.seconds, "loss": losses[-1], "peak_bytes": peak}


def main() -> None:
    """gpu_job.py JOB RESULT: run the job, a JSON object, and write its result into a file."""
    given, result = sys.argv[1:]
    Path(result).write_text(json.dumps(run(GpuJob(**json.loads(given)))), "utf-8")


if __name__ == "__main__":
    main()
