"""What `llmkit plan` predicts of twelve recipes, and what `llmkit finetune` then takes.

    python -m benchmarks.plan [NAME ...] [--repetitions N] [--json FILE]

Prints predicted and actual seconds and peak memory of each recipe. Each repetition plans and runs
every recipe once; the errors are of the medians. Run it on an idle machine.
"""

import argparse
import json
import os
import statistics
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


def error_of_medians(repetitions: list[dict], key: str) -> float:
    """The relative error of the median prediction against the median of what then happened."""
    predicted = statistics.median(each[f"predicted_{key}"] for each in repetitions)
    return predicted / statistics.median(each[key] for each in repetitions) - 1


def format_range(repetitions: list[dict], key: str, scale: float = 1, digits: int = 1) -> str:
    """The median of `key`, and its range where there is more than one repetition."""
    figures = sorted(each[key] / scale for each in repetitions)
    median = f"{statistics.median(figures):.{digits}f}"
    if len(figures) == 1:
        return median
    return f"{median} ({figures[0]:.{digits}f} to {figures[-1]:.{digits}f})"


def format_row(name: str, repetitions: list[dict]) -> str:
    """The figures of a recipe as a row of the table."""
    cells = (
        name,
        format_range(repetitions, "predicted_seconds"),
        format_range(repetitions, "seconds"),
        f"{error_of_medians(repetitions, 'seconds'):+.1%}",
        format_range(repetitions, "predicted_train_seconds"),
        format_range(repetitions, "train_seconds"),
        format_range(repetitions, "predicted_bytes", 1e9, 2),
        format_range(repetitions, "bytes", 1e9, 2),
        f"{error_of_medians(repetitions, 'bytes'):+.1%}",
        format_range(repetitions, "plan_seconds", digits=0),
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {'; '.join(RECIPES)}")
    parser.add_argument("--repetitions", type=int, default=1, metavar="N")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    found = {name: [] for name in arguments.names or RECIPES}
    for repetition in range(arguments.repetitions):
        for name, repetitions in found.items():
            repetitions.append(measure(RECIPES[name]))
            print(repetition + 1, format_row(name, repetitions[-1:]), file=sys.stderr, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, repetitions in found.items():
        print(format_row(name, repetitions))
    for what, key in (("time", "seconds"), ("memory", "bytes")):
        errors = [abs(error_of_medians(each, key)) for each in found.values()]
        narrow, wide = (sum(error <= most for error in errors) for most in (NARROW, WIDE))
        print(
            f"{what}: {narrow} of {len(errors)} within {NARROW:.0%}, {wide} within {WIDE:.0%}, "
            f"the worst {max(errors):.1%}"
        )


if __name__ == "__main__":
    main()
