"""Benchmark generation with llmkit and its peers, and write GENERATION.md.

    python -m benchmarks.generation --prompts scitldr.jsonl --column document --tokenizer folder

All contestants complete the same prompts with the same randomly initialized GPT-2 124M, with greedy
decoding and equal lengths, so their tokens can be compared. Each measurement runs in a separate
process; contestants take turns (A B C, A B C, ...). Install the peers first
(benchmarks/requirements.txt).

Workloads:
    equal      40 new tokens for each prompt
    ragged     10 to 80 new tokens, like a tuned model that generates end-of-text
    single     the first prompts one after another, 64 new tokens each
    labels     log-likelihoods of five labels after each prompt
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "benchmark" / "generation"
BATCH = 32
# `generate` runs in static batches sorted by length. Tuned: with llmkit's process settings (matrix
# library, memory allocator) and its fused GELU.
CONTESTANTS = {
    "equal": (
        "llmkit", "generate", "generate, tuned", "generate_batch", "pipeline", "CTranslate2",
    ),
    "ragged": ("llmkit", "generate", "generate, tuned"),
    "single": ("llmkit", "generate", "CTranslate2"),
    "labels": ("llmkit", "lm-evaluation-harness"),
}  # fmt: skip
NUM_SINGLE = 4  # prompts of the workload `single`
LABELS = (" world", " sport", " business and economy", " science", " science and technology")
MAX_ROUNDING = 1e-3  # nats by which two log-likelihoods of a label may differ
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_prompt_options(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workloads", nargs="+", choices=list(CONTESTANTS),
                        default=list(CONTESTANTS))  # fmt: skip
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "GENERATION.md")
    options = parser.parse_args()
    prepare(options, BUILD)
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for workload in options.workloads:
        of_workload = results.setdefault(workload, {name: [] for name in CONTESTANTS[workload]})
        for round_number in range(options.rounds):
            for name in CONTESTANTS[workload]:
                result = measure(workload, name, options.threads)
                of_workload[name].append(result)
                print(f"{workload} {name}, round {round_number + 1}: {result['shown']}", flush=True)
    text = report(results, options)
    options.output.write_text(text, "utf-8")
    print(text)


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=Path, required=True, help="rows with prompts (jsonl)")
    parser.add_argument("--column", required=True, help="column with the prompts")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="folder with GPT-2's tokenizer"
    )
    parser.add_argument("--rows", type=int, default=64)


def prepare(options: argparse.Namespace, build: Path) -> None:
    """Write the model, its tokenizer and the encoded prompts into a folder."""
    build.mkdir(parents=True, exist_ok=True)
    job = {name: str(getattr(options, name)) for name in ("prompts", "column", "tokenizer")}
    job |= {"rows": options.rows, "build": str(build)}
    command = [sys.executable, "-m", "benchmarks.generation_job", "prepare", json.dumps(job)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)


def measure(workload: str, contestant: str, threads: int) -> dict[str, Any]:
    """Run one measurement in a separate process; return its rate and results."""
    job = {"workload": workload, "contestant": contestant, "threads": threads, "build": str(BUILD)}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.generation_job", "run", json.dumps(job)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{workload}, {contestant}:\n{done.stdout}{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    return result | {"process_seconds": time.perf_counter() - started}


def report(results: dict[str, dict[str, list[dict[str, Any]]]], options: argparse.Namespace) -> str:
    lines = [
        "# Generation: llmkit and its peers", "",
        "Written by `python -m benchmarks.generation`. GPT-2 124M with random weights, float32, "
        f"{options.threads} threads, {options.rows} prompts, greedy decoding, batches of {BATCH} "
        "(llmkit runs more rows at once if their cache is small); "
        f"{rounds_of(options.rounds)}. "
        f"Processor: {processor()}.", "",
    ]  # fmt: skip
    for workload, contestants in results.items():
        unit = next(iter(contestants.values()))[0]["unit"]
        lines += [
            f"## {DESCRIPTIONS[workload]}", "",
            f"| | {unit} | speedup of llmkit | same results |", "|---|---:|---:|---:|",
        ]  # fmt: skip
        ours = [run["rate"] for run in contestants["llmkit"]]
        for name, runs in contestants.items():
            rates = [run["rate"] for run in runs]
            ratio = statistics.median(ours) / statistics.median(rates)
            same = f"{count_same(contestants['llmkit'][0], runs[0])} of {len(runs[0]['results'])}"
            lines.append(
                f"| {name} | {statistics.median(rates):.3g}{spread_of(rates)} "
                f"| {'' if name == 'llmkit' else f'{ratio:.2f}x'} | "
                f"{'' if name == 'llmkit' else same} |"
            )
        notes = contestants["llmkit"][0].get("note")
        lines += ["", *([notes, ""] if notes else [])]
    return "\n".join(lines)


DESCRIPTIONS = {
    "equal": "40 new tokens for each prompt",
    "ragged": "10 to 80 new tokens for each prompt",
    "single": "One request at a time, without the time for the prompt",
    "labels": "Log-likelihoods of five labels after each prompt",
}


def rounds_of(count: int) -> str:
    return "one run of each" if count == 1 else f"medians of {count} alternating runs (range)"


def spread_of(rates: list[float]) -> str:
    return f" ({min(rates):.3g} to {max(rates):.3g})" if len(rates) > 1 else ""


def count_same(ours: dict[str, Any], theirs: dict[str, Any]) -> int:
    """Number of prompts with the same tokens, or the same log-likelihoods up to rounding."""
    pairs = zip(ours["results"], theirs["results"], strict=True)
    return sum(
        len(a) == len(b) and all(abs(x - y) < MAX_ROUNDING for x, y in zip(a, b, strict=True))
        for a, b in pairs
    )


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    lines = cpuinfo.read_text("utf-8").splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = [name for name in INSTRUCTION_SETS if name in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.processor())} with {', '.join(flags)}"


if __name__ == "__main__":
    main()
