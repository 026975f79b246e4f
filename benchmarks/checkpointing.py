"""Measure the memory and the time of training steps with and without activation checkpointing.

    python -m benchmarks.checkpointing --rows 8 --tokens 1024

llmkit's trainer trains GPT-2 124M with random weights, one micro-batch per step, on a CPU, in two
processes, one after the other. Memory is the peak of resident memory during a step above the level
between steps, which holds weights and optimizer state.
"""

import argparse
import ctypes
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, set_seed

from benchmarks.job import Clock
from benchmarks.with_llmkit import Log
from llmkit.config.schema import Train
from llmkit.data.batches import UNLIMITED
from llmkit.data.encode import FEATURES
from llmkit.data.encoded_rows import EncodedRows
from llmkit.errors import count_of
from llmkit.families import GPT2
from llmkit.model.trainable import set_activation_checkpointing, trainable_model
from llmkit.runtime.devices import start_accelerator
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.memory import limit_of, memory_usage
from llmkit.training.trainer import Trainer

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_resident() -> int:
    """Peak bytes of resident memory since the last reset."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def random_rows(num_rows: int, length: int, vocab_size: int) -> Dataset:
    generator = random.Random(0)
    rows = []
    for index in range(num_rows):
        ids = [generator.randrange(vocab_size) for _ in range(length)]
        rows.append({"input_ids": ids, "labels": ids, "where": f"row {index}"})
    return Dataset.from_list(rows, features=FEATURES)


def measure(options: argparse.Namespace) -> dict:
    """Seconds, losses and memory of the steps after the first, in this process."""
    settings = Train(
        max_steps=1 + options.steps,
        global_batch_size=options.rows,
        micro_batch_size=options.rows,
        dropout=options.dropout,
        forward=options.forward,
        method=options.method,
        device="cpu",
    )
    accelerator = start_accelerator("cpu", options.precision, seed=0)
    set_seed(0)
    model = GPT2LMHeadModel(GPT2Config())
    GPT2.optimize(model)
    model = trainable_model(model, settings)
    checkpointing = options.measure == "on"
    set_activation_checkpointing(model, checkpointing)
    num_rows = options.rows * settings.max_steps
    rows = EncodedRows(random_rows(num_rows, options.tokens, model.config.vocab_size))
    capacity = UNLIMITED if options.forward == "padding_free" else None
    schedule = BatchSchedule(rows, settings, seed=0, capacity=capacity, limit=limit_of(settings, 0))
    log = Log(Clock())
    trainer = Trainer.build(model, schedule, settings, accelerator)
    trainer.train_step(log)  # allocates the optimizer's state
    seconds, cpu_seconds, peaks = [], [], []
    for _ in range(options.steps):
        ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory of the last step would count
        RESET.write_text("5")
        level, started, cpu = (
            psutil.Process().memory_info().rss,
            time.monotonic(),
            time.process_time(),
        )
        trainer.train_step(log)
        seconds.append(time.monotonic() - started)
        cpu_seconds.append(time.process_time() - cpu)
        peaks.append(peak_resident() - level)
    use = memory_usage(
        model,
        settings,
        device="cpu",
        precision=accelerator.mixed_precision,
        longest=options.tokens,
        checkpointing=checkpointing,
    )
    tokens = options.rows * options.tokens
    return {
        "precision": accelerator.mixed_precision,
        "threads": torch.get_num_threads(),
        "losses": log.losses,
        "seconds": statistics.median(seconds),
        "cpu_seconds": statistics.median(cpu_seconds),
        "peak": max(peaks),
        "expected": use.overhead - use.optimizer + use.activations(tokens),
    }


def in_new_process(checkpointing: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.checkpointing", *sys.argv[1:]]
    done = subprocess.run(
        [*command, "--measure", checkpointing], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1024, help="of each row")
    parser.add_argument("--steps", type=int, default=3, help="measured after the first")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--forward", choices=("padding_free", "transformers"),
                        default="padding_free")  # fmt: skip
    parser.add_argument("--precision", choices=("auto", "no", "bf16"), default="auto")
    parser.add_argument("--measure", choices=("off", "on"), help="in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    off, on = in_new_process("off"), in_new_process("on")
    print(f"{off['precision']}, {count_of(off['threads'], 'thread')}")
    for name, figures in {"off": off, "on": on}.items():
        print(
            f"{name:4} peak {figures['peak'] / 1e9:.2f} GB (expected "
            f"{figures['expected'] / 1e9:.2f}), {figures['seconds']:.1f} s per step, "
            f"{figures['cpu_seconds']:.1f} s of CPU"
        )
    print(
        f"memory x {on['peak'] / off['peak']:.2f}, time x {on['seconds'] / off['seconds']:.2f}, "
        f"CPU x {on['cpu_seconds'] / off['cpu_seconds']:.2f}; losses "
        f"{'bit-identical' if on['losses'] == off['losses'] else 'differ'}: {off['losses']}"
    )


if __name__ == "__main__":
    main()
