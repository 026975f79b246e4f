"""What `llmkit plan` predicts of twelve recipes, and what `llmkit finetune` then takes.

    python -m benchmarks.plan [NAME ...] [--json FILE]

Prints predicted and actual seconds and peak memory of each recipe. Run it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NARROW, WIDE = 0.10, 0.20  # errors within which 11 of 12, and all, have to be
RECIPES = {
    "summarize": ["summarize", "train.epochs=1"],
    "summarize, validated often": [
        "summarize", "train.epochs=1", "evaluation.every=10", "evaluation.validation_rows=24",
    ],
    "translate": ["translate", "train.epochs=1"],
    "qa, LoRA": ["qa", "train.epochs=1", "train.method=lora"],
    "classify": ["classify", "train.epochs=1"],
    "classify, two frozen blocks": [
        "classify", "train.epochs=2", "train.freeze_layers=2", "train.global_batch_size=32",
    ],
    "instruct": ["instruct", "train.epochs=1"],
    "chat, short rows": ["chat", "train.epochs=1", "data.max_length=160"],
    "reason": ["reason", "train.epochs=1", "evaluation.test_rows=20"],
    "pretrain": ["pretrain", "train.epochs=1"],
    "pretrain, 13 million weights": [
        "pretrain", "train.epochs=null", "train.max_steps=40", "model.scratch.n_layer=6",
        "model.scratch.n_head=6", "model.scratch.n_embd=384", "model.scratch.vocab_size=4096",
    ],
    "translate, small micro-batches": [
        "translate", "train.epochs=null", "train.max_steps=60", "train.micro_batch_tokens=512",
        "train.dropout=0.1", "checkpoint.every=15",
    ],
}  # fmt: skip
COLUMNS = (
    "recipe", "predicted s", "actual s", "error", "training s", "actual", "predicted GB",
    "actual GB", "error", "plan s",
)  # fmt: skip


def run(arguments: list[str]) -> tuple[dict, float, int]:
    """The JSON object that a command prints, its seconds, and its peak memory in bytes."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "llmkit", *arguments, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    output = process.stdout.read()
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"llmkit {' '.join(arguments)}: exit code {process.returncode}\n{errors}")
    return json.loads(output), time.perf_counter() - started, 1024 * usage.ru_maxrss


def measure(arguments: list[str]) -> dict[str, float]:
    """Predicted and actual figures of a recipe; seconds and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        plan, plan_seconds, _ = run(["plan", *arguments])
        results, _, peak = run(["finetune", *arguments, "--run-dir", str(Path(folder) / "run")])
    prediction = plan["prediction"]
    return {
        "plan_seconds": plan_seconds,
        "predicted_seconds": prediction["total_seconds"],
        "seconds": results["seconds"],
        "predicted_train_seconds": sum(
            prediction["seconds"][part]
            for part in ("optimizer steps", "validations", "checkpoints")
        ),
        "train_seconds": results["train_seconds"],
        "predicted_bytes": prediction["peak_bytes"],
        "bytes": peak,
        "parts": prediction["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {'; '.join(RECIPES)}")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    names = arguments.names or list(RECIPES)
    found = {}
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in names:
        figures = found[name] = measure(RECIPES[name])
        time_error = figures["predicted_seconds"] / figures["seconds"] - 1
        memory_error = figures["predicted_bytes"] / figures["bytes"] - 1
        print(
            f"| {name} | {figures['predicted_seconds']:.1f} | {figures['seconds']:.1f} "
            f"| {time_error:+.1%} | {figures['predicted_train_seconds']:.1f} "
            f"| {figures['train_seconds']:.1f} | {figures['predicted_bytes'] / 1e9:.2f} "
            f"| {figures['bytes'] / 1e9:.2f} | {memory_error:+.1%} "
            f"| {figures['plan_seconds']:.0f} |",
            flush=True,
        )
    for what, key in (("time", "seconds"), ("memory", "bytes")):
        errors = [abs(each[f"predicted_{key}"] / each[key] - 1) for each in found.values()]
        narrow, wide = (sum(error <= most for error in errors) for most in (NARROW, WIDE))
        print(
            f"{what}: {narrow} of {len(errors)} within {NARROW:.0%}, {wide} within {WIDE:.0%}, "
            f"the worst {max(errors):.1%}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
