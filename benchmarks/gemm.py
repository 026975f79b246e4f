"""Measure the bf16 GEMM rate of the machine at the shapes of the linear layers of a step."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GPT2Config

from benchmarks.job import read_job, rows_in_order

REPEATS = 15


def seconds_of(product: Callable[[], torch.Tensor]) -> float:
    """Median seconds of several calls, without the first, which packs and plans."""
    product()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def measure(rows: int, inner: int, outer: int) -> list[float]:
    """GFLOP/s of the three products of a layer: output, input gradient and weight gradient."""
    x = torch.randn(rows, inner, dtype=torch.bfloat16)
    weight = torch.randn(inner, outer, dtype=torch.bfloat16)
    y = torch.randn(rows, outer, dtype=torch.bfloat16)
    products = (lambda: x @ weight, lambda: y @ weight.T, lambda: x.T @ y)
    return [2e-9 * rows * inner * outer / seconds_of(product) for product in products]


def main() -> None:
    job = read_job()
    tokens = sum(len(row["input_ids"]) for row in rows_in_order(job)) // job.steps
    width = GPT2Config.from_pretrained(job.model).n_embd
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    rates = [measure(tokens, *shape) for shape in shapes]
    # Total work over total time of a block: a slow shape counts by its time.
    work = [inner * outer for inner, outer in shapes for _ in range(3)]
    flat = [rate for layer in rates for rate in layer]
    total = sum(work) / sum(w / rate for w, rate in zip(work, flat, strict=True))
    Path(job.result).write_text(json.dumps({"gflops": total}), "utf-8")


if __name__ == "__main__":
    main()
