"""Benchmark predictions for a long file under kills: each row exactly once, in constant memory.

    python -m benchmarks.long_file --rows 100000 --kills 3 --format jsonl

A tiny GPT-2 completes short prompts with 4 sampled tokens each. The command is killed with SIGKILL
at random moments and run again until it finishes. The output is compared, byte by byte, with that
of an uninterrupted command, whose resident memory is sampled as the output grows.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from llmkit.config.schema import Scratch
from llmkit.data.bpe import train_bpe
from llmkit.model.load import scratch_model

SHARES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.99)  # of the output, at which memory is sampled
TEXT = "the ferry left harbour at noon a man in red coat sold twelve apples and three loaves"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--format", default="jsonl")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options), indent=2))


def measure(folder: Path, options: argparse.Namespace) -> dict:
    write_model(folder / "model")
    write_prompts(folder / "in.jsonl", options.rows)
    whole, killed = folder / f"whole.{options.format}", folder / f"killed.{options.format}"
    started = time.perf_counter()
    memory = sample_memory(start(folder, whole), partial(whole), options.rows)
    seconds = time.perf_counter() - started
    size, chance = whole.stat().st_size, random.Random(options.seed)
    moments = sorted(chance.random() for _ in range(options.kills))
    kept = [kill_at(start(folder, killed), partial(killed), share * size) for share in moments]
    process = start(folder, killed)
    assert process.wait() == 0
    ids = [json.loads(line)["id"] for line in killed.open()] if options.format == "jsonl" else []
    return {
        "rows": options.rows,
        "seconds": round(seconds, 1),
        "MB at share of the output": memory,
        "killed after bytes": kept,
        "bytes": size,
        "identical": killed.read_bytes() == whole.read_bytes(),
        "each row once": ids == [str(number) for number in range(options.rows)],
    }


def write_model(folder: Path) -> None:
    torch.manual_seed(0)
    shape = Scratch(n_layer=2, n_head=2, n_embd=32, n_positions=128, vocab_size=320)
    model, tokenizer = scratch_model(shape, lambda size: train_bpe([TEXT] * 20, size))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_prompts(path: Path, num_rows: int) -> None:
    words, chance = TEXT.split(), random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            prompt = " ".join(chance.choices(words, k=chance.randint(2, 6)))
            file.write(json.dumps({"id": str(number), "prompt": prompt}) + "\n")


def partial(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial")


def start(folder: Path, output: Path) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "llmkit", "generate", "--model", folder / "model",
        "--input", folder / "in.jsonl", "--output", output,
        "--max-new-tokens", "4", "--temperature", "1", "--seed", "7",
    ]  # fmt: skip
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def sample_memory(process: subprocess.Popen, output: Path, num_rows: int) -> dict[str, float]:
    """Resident memory, in MB, when the output has a given share of its rows."""
    memory, waiting = {}, list(SHARES)
    size = num_lines = 0
    while process.poll() is None:
        time.sleep(0.02)
        if not output.exists() or not waiting:
            continue
        with output.open("rb") as file:
            file.seek(size)
            new = file.read()
        size, num_lines = size + len(new), num_lines + new.count(b"\n")
        if num_lines >= waiting[0] * num_rows:
            resident = psutil.Process(process.pid).memory_info().rss
            memory[f"{waiting.pop(0):.0%}"] = round(resident / 2**20, 1)
    assert process.returncode == 0
    return memory


def kill_at(process: subprocess.Popen, output: Path, num_bytes: float) -> int:
    """Kill the process when the output has a number of bytes; return its size then."""
    while process.poll() is None and (not output.exists() or output.stat().st_size < num_bytes):
        time.sleep(0.005)
    process.kill()
    process.wait()
    return output.stat().st_size


if __name__ == "__main__":
    main()
