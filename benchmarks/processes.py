"""Measure what a second process gains: two processes with a core each against one with one core.

    python -m benchmarks.processes
    python -m benchmarks.processes --data train.jsonl --tokenizer FOLDER

llmkit's trainer trains the embedded model, and GPT-2 124M with random weights, on the rows of
`summarize`, with the same number of rows per step. Three kinds of runs take turns (A B C, A B C,
...): one process, two processes of one run, and two runs of one process each at the same time.
The last shows what two busy cores lose by themselves, since they share memory and caches. Every
process is pinned to a core and computes with one thread. Rates are those of the steps after the
first ones, start-up excluded. Linux only; takes about seven minutes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from benchmarks.job import Clock
from benchmarks.with_llmkit import Log, build_trainer
from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Recipe
from llmkit.data.cache import encode_cached
from llmkit.data.encode import EncodingOptions
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.recipe_task import recipe_task
from llmkit.data.splits import open_splits
from llmkit.families import GPT2
from llmkit.model.load import load_model
from llmkit.model.trainable import trainable_model
from llmkit.runtime.devices import start_accelerator
from llmkit.runtime.launch import free_port
from llmkit.runtime.signals import Signals
from llmkit.training.loop import sync_stop_requests

ONE, TWO, APART = "1 process", "2 processes", "2 separate runs"


@dataclass(frozen=True)
class Workload:
    """A model and the steps that are measured with it."""

    model: str
    max_length: int
    warmup: int
    """First steps, which are not counted."""
    steps: int
    rounds: int


WORKLOADS = {
    "embedded": Workload("embedded", max_length=256, warmup=5, steps=40, rounds=5),
    "gpt2": Workload("gpt2", max_length=256, warmup=1, steps=2, rounds=2),
}


def main() -> None:
    options = parse()
    if options.measure:
        print(json.dumps(measure(WORKLOADS[options.measure], options)))
        return
    for name in options.models:
        compare(WORKLOADS[name], options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, help="rows with document and summary; default: the embedded ones")
    add("--tokenizer", type=Path, help="of GPT-2 124M, a folder; default: the embedded one")
    add("--models", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    add("--rows", type=int, default=8, help="per step, over all processes")
    add("--rounds", type=int, help="runs of each kind")
    add("--measure", choices=list(WORKLOADS), help="train in this process")
    return parser.parse_args()


def compare(workload: Workload, options: argparse.Namespace) -> None:
    """Run the three kinds in turns and print their rates."""
    cores = sorted(os.sched_getaffinity(0))
    rates: dict[str, list[float]] = {ONE: [], TWO: [], APART: []}
    for number in range(options.rounds or workload.rounds):
        core = cores[number % 2]  # one core may be faster than the other
        rates[ONE] += run([[core]], workload)
        rates[TWO] += run([cores[:2]], workload)
        rates[APART].append(sum(run([[core] for core in cores[:2]], workload)))
        latest = ", ".join(f"{kind} {values[-1]:,.0f}" for kind, values in rates.items())
        print(f"{workload.model}, round {number + 1}, tokens/s: {latest}", flush=True)
    one, two, apart = (statistics.median(values) for values in rates.values())
    print(
        f"{workload.model}, {options.rows} rows per step, medians: {two / one:.2f} times the "
        f"tokens/s of 1 process, {two / one / 2:.2f} per core; {two / apart:.2f} of those of "
        "2 separate runs"
    )


def run(cores_of_runs: list[list[int]], workload: Workload) -> list[float]:
    """Start runs at the same time; returns the tokens per second of each.

    cores_of_runs: for each run, the core of each of its processes.
    """
    runs = [start(cores, workload) for cores in cores_of_runs]
    outputs = [[process.communicate()[0] for process in processes] for processes in runs]
    if any(process.returncode for processes in runs for process in processes):
        raise SystemExit("a process has failed")
    return [json.loads(first.splitlines()[-1]) for first, *_ in outputs]


def start(cores: list[int], workload: Workload) -> list[subprocess.Popen]:
    """Start the processes of a run, each pinned to a core."""
    shared = os.environ | {"OMP_NUM_THREADS": "1"}
    if len(cores) > 1:
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        shared |= {"WORLD_SIZE": str(len(cores)), "LOCAL_WORLD_SIZE": str(len(cores))}
    command = [sys.executable, "-m", "benchmarks.processes", *sys.argv[1:]]
    return [
        subprocess.Popen(
            [*command, "--measure", workload.model],
            env=shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if len(cores) > 1 else {}),
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=partial(os.sched_setaffinity, 0, {core}),
        )
        for rank, core in enumerate(cores)
    ]


def measure(workload: Workload, options: argparse.Namespace) -> float:
    """Train in this process; returns the tokens per second of all processes."""
    recipe = load_recipe("summarize", overrides=overrides_of(workload, options))
    accelerator = start_accelerator("cpu", "auto", recipe.seed)
    model, rows = prepare(recipe, workload, options.tokenizer)
    trainer, schedule = build_trainer(model, rows, recipe, accelerator)
    clock = Clock()
    never_overdue = SimpleNamespace(is_overdue=lambda: False)
    while trainer.progress.step < schedule.num_steps:
        trainer.train_step(Log(clock))
        sync_stop_requests(accelerator, Signals(), never_overdue)
    steps = range(workload.warmup, schedule.num_steps)
    seconds = clock.marks[-1] - clock.marks[workload.warmup - 1]
    return sum(map(schedule.num_tokens, steps)) / seconds


def overrides_of(workload: Workload, options: argparse.Namespace) -> tuple[str, ...]:
    data = [f"data.{split}={options.data}" for split in ("train", "validation", "test")]
    return (
        "model=embedded",
        "train.epochs=null",
        f"train.max_steps={workload.warmup + workload.steps}",
        f"train.global_batch_size={options.rows}",
        "train.dropout=0.1",
        f"data.max_length={workload.max_length}",
        *(data if options.data else []),
    )


def prepare(
    recipe: Recipe, workload: Workload, tokenizer_folder: Path | None
) -> tuple[nn.Module, EncodedRows]:
    """The model and the encoded training rows."""
    model, tokenizer = load_model("embedded")
    if workload.model == "gpt2":
        torch.manual_seed(recipe.seed)
        model = GPT2LMHeadModel(GPT2Config())
        GPT2.optimize(model)
        if tokenizer_folder is not None:
            tokenizer = GPT2Tokenizer.from_pretrained(tokenizer_folder)
    train = open_splits(recipe.data, recipe_task(recipe))["train"]
    rows, *_ = encode_cached(train, tokenizer, EncodingOptions.of(recipe.data))
    return trainable_model(model, recipe.train), EncodedRows(rows)


if __name__ == "__main__":
    main()
