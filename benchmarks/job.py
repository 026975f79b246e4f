"""Shared by all contestants: the job, the rows, the model, the clock and the result."""

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import load_from_disk
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase

from llmkit.constants import IGNORE_INDEX
from llmkit.data.batches import shuffled_indices
from llmkit.model.trainable import unmap_weights

SEED = 0
LEARNING_RATE = 5e-5  # constant
WEIGHT_DECAY = 0.01  # of the matrices, not of biases and LayerNorm
BETAS = (0.9, 0.999)
MAX_GRAD_NORM = 1.0
LORA = {
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "target_modules": ["c_attn", "c_proj", "c_fc"],
}


@dataclass(frozen=True)
class Job:
    """One run of one contestant, in a separate process."""

    contestant: str
    variant: str
    workload: str
    task: str
    rows: str
    """Folder of the encoded rows, as prepare.py wrote it."""
    model: str
    """Folder of the model and its tokenizer."""
    steps: int
    batch: int
    """Rows per step."""
    dropout: float
    method: str
    """full or lora."""
    tuning: dict[str, Any]
    """Settings of a tuned peer that run.py found fastest: `split` (forward passes per step),
    `attention`, `full_logits` (TRL), `allocator`. Empty for the others."""
    same_batches: bool
    """Prevent grouping by length, to compare losses instead of speed."""
    result: str
    """File for the result."""


def read_job() -> Job:
    """The job from the only command-line argument."""
    return Job(**json.loads(sys.argv[1]))


def rows_in_order(job: Job) -> list[dict[str, list[int]]]:
    """The rows in the order of llmkit's BatchSchedule, epoch after epoch, until the last step."""
    rows = load_from_disk(job.rows)
    needed = job.steps * job.batch
    order = [
        index
        for epoch in range(-(-needed // len(rows)))
        for index in shuffled_indices(len(rows), SEED, epoch).tolist()
    ]
    columns = rows.select_columns(["input_ids", "labels"])
    return [columns[index] for index in order[:needed]]


def load_model(job: Job, **config: Any) -> GPT2LMHeadModel:
    """The model in float32, with the dropout of the job everywhere."""
    names = ("embd_pdrop", "resid_pdrop", "attn_pdrop")
    dropout = dict.fromkeys(names, job.dropout)
    model = GPT2LMHeadModel.from_pretrained(job.model, dtype="float32", **dropout, **config)
    unmap_weights(model)  # before the clock starts, as llmkit does
    return model


def load_tokenizer(job: Job) -> PreTrainedTokenizerBase:
    """The tokenizer; it pads with end-of-text, since GPT-2 has no padding token."""
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class Counted:
    """A collator that counts the tokens it passes to the model."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator
        self.counts = {"tokens": 0, "supervised": 0, "fed": 0}

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        batch = self.collator(rows)
        self.counts["tokens"] += int(batch["attention_mask"].sum())
        self.counts["supervised"] += int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
        self.counts["fed"] += batch["input_ids"].numel()
        return batch


class Clock:
    """Seconds from the start of training to the end of each step."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.started = time.perf_counter()

    def mark(self) -> None:
        self.marks.append(time.perf_counter() - self.started)


def write_result(
    job: Job,
    clock: Clock,
    losses: list[float],
    settings: dict[str, Any],
    counts: dict[str, int],
) -> None:
    """Write the measurements. counts: tokens without padding, supervised ones, with padding."""
    if len(losses) != job.steps or len(clock.marks) != job.steps:
        raise RuntimeError(f"{len(losses)} losses, {len(clock.marks)} times, {job.steps} steps")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    result = {
        "marks": clock.marks,
        "losses": losses,
        "peak_bytes": peak,
        "settings": settings,
        **counts,
    }
    Path(job.result).write_text(json.dumps(result), "utf-8")
