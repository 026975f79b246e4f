"""Time training on one GPU: llmkit and its peers, at several batch sizes.

    pip install -e . -r benchmarks/requirements.txt
    python -m benchmarks.gpu

Trains GPT-2 124M from random weights on random tokens for a few steps, each run in a process of its
own. Contestants take turns (A B C, A B C, ...), so that a GPU that gets warm slows all of them. The
table is written to GPU.md. Takes about ten minutes on a current GPU; a contestant that is not
installed or fails is reported as such.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config

from benchmarks.gpu_job import CONTESTANTS, MATMUL_SIZE, GpuJob, matmul_flops

ROOT = Path(__file__).parents[1]
NO_DROPOUT = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
TINY = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 64, "vocab_size": 100,
        "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
# Dense bf16 (fp16 before Ampere) FLOP/s with float32 accumulation, from the makers' data sheets, by
# a part of the device's name; the longest part that fits counts.
PEAK_FLOPS = {
    "V100": 125e12, "T4": 65e12, "A10G": 70e12, "A10": 125e12, "A30": 165e12, "A40": 149.7e12,
    "A100": 312e12, "RTX 3090": 71e12, "RTX A6000": 154.8e12, "RTX 4090": 165.2e12,
    "RTX 5090": 209.5e12, "RTX 6000 Ada": 182.1e12, "L4": 121e12, "L40": 181e12, "L40S": 362e12,
    "GH200": 989e12, "H100": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H200": 989e12,
    "B200": 2250e12,
}  # fmt: skip

Run = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    runs: list[Run] = []
    for number in range(options.rounds):
        for rows in options.rows:
            for contestant in options.contestants:
                found = run_in_process(job_of(contestant, rows, options))
                said = found.get("error") or f"{rate_of(found):,.0f} tokens/s"
                print(f"round {number + 1}, {rows} rows, {contestant}: {said}", flush=True)
                runs.append(found)
    size = MATMUL_SIZE if options.device == "cuda" else 256
    facts = machine_facts(options.device) | {"matmul_flops": matmul_flops(options.device, size)}
    options.output.write_text(report(runs, facts), "utf-8")
    print(f"written: {options.output}")
    return int(any("error" in run for run in runs))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--tiny", action="store_true", help="a tiny model, to try the script")
    add("--rows", type=int, nargs="+", default=[8, 32, 64], help="rows per step")
    add("--length", type=int, default=240, help="tokens per row")
    add("--rounds", type=int, default=3, help="runs of each contestant")
    add("--warmup", type=int, default=5, help="first steps, not timed")
    add("--steps", type=int, default=20, help="timed steps")
    add("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    add("--output", type=Path, default=ROOT / "benchmarks" / "GPU.md")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA GPU; --device cpu --tiny tries the script without one")
    return options


def job_of(contestant: str, rows: int, options: argparse.Namespace) -> GpuJob:
    config = NO_DROPOUT | (TINY if options.tiny else {})
    return GpuJob(
        contestant, options.device, config, rows, options.length, options.warmup, options.steps
    )


def run_in_process(job: GpuJob) -> Run:
    """What the job measured, or the last line of its error."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        result = Path(folder) / "result.json"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu_job", json.dumps(vars(job)), str(result)],
            cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            return {**vars(job), "error": last[0][:300]}
        return json.loads(result.read_text("utf-8"))


def machine_facts(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    libraries = {}
    for library in ("llmkit", "torch", "transformers", "trl", "accelerate"):
        try:
            libraries[library] = version(library)
        except ImportError:
            libraries[library] = "not installed"
    return {"device": name, "libraries": libraries, "date": time.strftime("%Y-%m-%d")}


def peak_flops(device: str) -> float | None:
    """The FLOP/s of a device by its data sheet; None if it is not in the table."""
    fitting = [part for part in PEAK_FLOPS if part in device]
    return PEAK_FLOPS[max(fitting, key=len)] if fitting else None


def flops_per_token(config: GPT2Config, length: int) -> float:
    """FLOP of a token's forward and backward pass, without what is computed twice: 6 per weight of
    a product, and causal attention, where a token sees half of its row on average."""
    weights = 12 * config.n_layer * config.n_embd**2 + config.vocab_size * config.n_embd
    return 6 * weights + 6 * config.n_layer * config.n_embd * length


def report(runs: list[Run], facts: dict[str, Any]) -> str:
    """The tables as Markdown."""
    peak, matmul = peak_flops(facts["device"]), facts["matmul_flops"]
    sheet = f"{peak / 1e12:,.0f} by its data sheet" if peak else "not in the table of data sheets"
    libraries = ", ".join(f"{name} {each}" for name, each in facts["libraries"].items())
    first = runs[0]
    parts = [
        "# Training on a GPU\n",
        f"{facts['device']}; {libraries}; {facts['date']}. bf16 TFLOP/s: {sheet}, "
        f"{matmul / 1e12:,.1f} measured in a large product.\n",
        f"Rows of {first['length']} random tokens, all supervised; {first['steps']} timed steps "
        f"after {first['warmup']}, optimizer included. Median (lowest to highest) of the rounds. "
        "MFU: arithmetic of the model over that of the data sheet; *of the product*: over the "
        "measured one. Memory is that of tensors. The loss is that of the last step, of the "
        "Trainers the mean of all steps; the compiled loop has a larger vocabulary. Written by "
        "`python -m benchmarks.gpu`.\n",
    ]
    for rows in dict.fromkeys(run["rows"] for run in runs):
        parts += section(rows, [run for run in runs if run["rows"] == rows], peak, matmul)
    return "\n".join(parts)


def section(rows: int, runs: list[Run], peak: float | None, matmul: float) -> list[str]:
    names = ("contestant", "tokens/s", "llmkit is faster by", "MFU", "of the product",
             "peak memory, GB", "loss")  # fmt: skip
    by_name = {run["contestant"]: [] for run in runs}
    for run in runs:
        by_name[run["contestant"]].append(run)
    rates = {name: [rate_of(run) for run in own if "error" not in run]
             for name, own in by_name.items()}  # fmt: skip
    ours = statistics.median(rates["llmkit"]) if rates.get("llmkit") else None
    lines = []
    for name, own in by_name.items():
        measured = [run for run in own if "error" not in run]
        if not measured:
            lines.append([name, f"failed: {own[0]['error']}", *["-"] * (len(names) - 2)])
            continue
        rate = statistics.median(rates[name])
        flops = rate * flops_per_token(GPT2Config(**own[0]["config"]), own[0]["length"])
        memory = [run["peak_bytes"] for run in measured if run["peak_bytes"] is not None]
        lines.append([
            name,
            f"{rate:,.0f} ({min(rates[name]):,.0f} to {max(rates[name]):,.0f})",
            f"{ours / rate:.2f}" if ours else "-",
            f"{flops / peak:.1%}" if peak else "-",
            f"{flops / matmul:.1%}",
            f"{max(memory) / 1e9:.1f}" if memory else "-",
            f"{measured[-1]['loss']:.3f}",
        ])  # fmt: skip
    return [f"## {rows} rows per step\n", table(names, lines)]


def rate_of(run: Run) -> float:
    """Tokens per second of the timed steps."""
    return run["rows"] * run["length"] * run["steps"] / run["seconds"]


def table(names: Iterable[str], rows: list[list[str]]) -> str:
    names = list(names)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
