"""Time llmkit and its peers side by side and write RESULTS.md.

    make benchmark                 with the embedded rows and tokenizer
    make benchmark SUMMARIZE=train.jsonl TRANSLATE=train.jsonl TEXT=train.txt TOKENIZER=folder
    python -m benchmarks.run --help

Each run is a separate process. Contestants take turns (A B C, A B C, ...), so that other load on
the machine affects all of them. Runs are recorded in build/benchmark/runs.jsonl: runs of the named
workloads are replaced, and the report covers all runs in the file.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.report import write_report

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "benchmark"
CONTESTANTS = {
    "llmkit": ("with_llmkit", ""),
    "HF Trainer, defaults": ("with_trainer", "defaults"),
    "HF Trainer, tuned": ("with_trainer", "tuned"),
    "TRL, defaults": ("with_trl", "defaults"),
    "TRL, tuned": ("with_trl", "tuned"),
    "plain loop": ("with_loop", "compiled"),
    "GEMM": ("gemm", ""),
}
# Settings that are tried for the tuned peers, on each workload, on this machine: one choice after
# the other, each with the best values of those before it. Without tuning, the first value of each
# is used. Splitting a step into smaller forward passes saves padding; the result is the same.
SPLITS = (2, 1, 4, 8)
# By default glibc returns large blocks to the system and requests them again page by page.
ALLOCATOR = (
    "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.hugetlb=1"
)
CHOICES: dict[str, dict[str, tuple]] = {
    "HF Trainer, tuned": {
        "split": SPLITS,
        "attention": ("eager", "sdpa"),
        "allocator": ("", ALLOCATOR),
    },
    "TRL, tuned": {
        "split": SPLITS,
        "attention": ("eager", "sdpa"),
        "full_logits": (False, True),
        "allocator": ("", ALLOCATOR),
    },
    "plain loop": {
        "split": (1, 2, 4),
        "attention": ("sdpa", "eager"),
        "allocator": ("", ALLOCATOR),
    },
}
PEERS = ("HF Trainer, defaults", "HF Trainer, tuned", "TRL, defaults", "TRL, tuned")
NAMES = ("summarize", "translate", "lora", "lm", "growth", "around")
GROWTH_BATCHES = (4, 8, 16, 32)
GROWTH_LENGTHS = (64, 128, 256, 512, 1024)
GROWTH_STEPS = 4  # the first is not counted


@dataclass(frozen=True)
class Workload:
    """Rows to train on, and the contestants that train on them."""

    name: str
    task: str
    contestants: tuple[str, ...]
    batch: int
    steps: int
    data: str | None = None
    """File of the rows; None: the embedded rows."""
    method: str = "full"
    length: int | None = None
    """Train on rows of this many random tokens instead of data."""

    @property
    def rows(self) -> str:
        """Folder of the encoded rows."""
        return str(BUILD / "rows" / self.name)


def main() -> int:
    options = parse()
    workloads = [w for name in options.workloads for w in workloads_of(name, options)]
    BUILD.mkdir(parents=True, exist_ok=True)
    prepare(workloads, options.tokenizer)
    path = BUILD / "runs.jsonl"
    forget(path, options)
    failed = 0
    if "around" in options.workloads:
        failed += measure_around(options, path)
    for workload in workloads:
        for dropout in options.dropout[: 1 if workload.length else None]:
            failed += measure(workload, dropout, options, path)
    write_report(path, options.output, options.warmup)
    print(f"written: {options.output}; {failed} runs failed")
    return int(failed > 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--workloads", nargs="+", choices=NAMES, default=list(NAMES))
    add("--contestants", nargs="+", choices=list(CONTESTANTS), help="run only these")
    add("--rounds", type=int, default=3, help="runs of each contestant")
    add("--steps", type=int, default=12, help="steps of summarize, translate and lora")
    add("--batch", type=int, default=8, help="rows per step of summarize, translate and lora")
    add("--lm-steps", type=int, default=15)
    add("--lm-batch", type=int, default=4)
    add("--warmup", type=int, default=5, help="lm: first steps that are also excluded")
    add(
        "--tuning-steps",
        type=int,
        default=12,
        help="steps per tuned setting; 0: no tuning",
    )
    add("--dropout", nargs="+", type=float, default=[0.1, 0.0])
    add("--same-batches", action="store_true", help="no grouping by length: to compare losses")
    add("--summarize", type=existing, help="rows with document and summary (jsonl)")
    add("--translate", type=existing, help="rows with en and de (jsonl)")
    add("--text", type=existing, help="plain text (txt) or rows with text (jsonl)")
    add("--tokenizer", type=existing, help="folder of GPT-2's vocab.json and merges.txt")
    add("--output", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    return parser.parse_args()


def existing(name: str) -> str:
    if not Path(name).exists():
        raise argparse.ArgumentTypeError(f"{name}: no such file")
    return str(Path(name).resolve())


def workloads_of(name: str, options: argparse.Namespace) -> list[Workload]:
    """The workload of that name; for growth, one per cell of its table."""
    size = {"batch": options.batch, "steps": options.steps}
    everyone = ("llmkit", *PEERS)
    match name:
        case "summarize":
            return [Workload(name, "summarize", everyone, data=options.summarize, **size)]
        case "translate":
            return [Workload(name, "translate", everyone, data=options.translate, **size)]
        case "lora":
            two = ("llmkit", "TRL, tuned")
            data = options.summarize
            return [Workload(name, "summarize", two, data=data, method="lora", **size)]
        case "lm":
            two = ("llmkit", "plain loop")
            size = {"batch": options.lm_batch, "steps": options.lm_steps}
            return [Workload(name, "pretrain", two, data=options.text, **size)]
        case "around":
            return []
    return [
        Workload(
            f"growth {length}x{batch}", "summarize", ("llmkit",), batch, GROWTH_STEPS, length=length
        )
        for length in GROWTH_LENGTHS
        for batch in GROWTH_BATCHES
    ]


def prepare(workloads: list[Workload], tokenizer: str | None) -> None:
    """Write the model and the rows of all workloads to disk."""
    given = {
        "model": str(BUILD / "model"),
        "tokenizer": tokenizer,
        "workloads": [{**asdict(workload), "rows": workload.rows} for workload in workloads],
    }
    subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare", json.dumps(given)],
        cwd=ROOT, env=environment(), check=True,
    )  # fmt: skip


def environment() -> dict[str, str]:
    """The environment of every process: on the CPU, offline, quiet."""
    return os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def forget(path: Path, options: argparse.Namespace) -> None:
    """Remove earlier runs of what is about to be measured."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines(keepends=True):
        run = json.loads(line)
        name = run["workload"].partition(" ")[0]  # for growth, all its cells
        is_measured_again = (
            name in options.workloads
            and run["dropout"] in [None, *options.dropout]
            and run.get("contestant") in [None, *(options.contestants or CONTESTANTS)]
        )
        if not is_measured_again:
            kept.append(line)
    path.write_text("".join(kept), "utf-8")


def measure(workload: Workload, dropout: float, options: argparse.Namespace, path: Path) -> int:
    """Run all rounds of all contestants and record each run; return the number of failed runs."""
    contestants = workload.contestants if workload.length else ("GEMM", *workload.contestants)
    contestants = [name for name in contestants if name in (options.contestants or contestants)]
    tunings = {name: tune(name, workload, dropout, options, path) for name in contestants}
    failed = 0
    for number in range(1, 1 + (1 if workload.length else options.rounds)):
        for name in contestants:
            run = run_contestant(name, workload, dropout, tunings[name], options.same_batches)
            failed += "error" in run
            keep(run | {"round": number}, path)
    return failed


def measure_around(options: argparse.Namespace, path: Path) -> int:
    """Measure start-up and tokenization in one process; return whether it failed."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        given = {
            "model": str(BUILD / "model"),
            "rows": {
                "summarize": options.summarize,
                "translate": options.translate,
                "pretrain": options.text,
            },
            "rounds": options.rounds,
            "result": f"{folder}/result.json",
        }
        own = environment() | {"TOKENIZERS_PARALLELISM": "true"}
        facts = {"workload": "around", "dropout": None, "round": 1}
        run = facts | {"date": time.strftime("%Y-%m-%d")} | run_module("around", given, own)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")
    print("around:", run.get("error") or run["starts"], flush=True)
    return int("error" in run)


def tune(
    contestant: str, workload: Workload, dropout: float, options: argparse.Namespace, path: Path
) -> dict[str, Any]:
    """The settings that are fastest after the first step; empty if there are no choices."""
    choices = CHOICES.get(contestant, {})
    best = {name: values[0] for name, values in choices.items()}
    if not choices or not options.tuning_steps:
        return best
    short = replace(workload, steps=min(workload.steps, options.tuning_steps))
    fastest = math.inf
    for name, values in choices.items():
        for tuning in [best | {name: value} for value in values]:
            if workload.batch % tuning["split"] or (tuning == best and fastest < math.inf):
                continue
            run = run_contestant(contestant, short, dropout, tuning, options.same_batches)
            keep(run | {"round": 0}, path)
            seconds = math.inf if "error" in run else run["marks"][-1] - run["marks"][0]
            if seconds < fastest:
                best, fastest = tuning, seconds
    return best


def keep(run: dict[str, Any], path: Path) -> None:
    """Record a run at once. Round 0: a run that tunes a peer."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")
    show(run)


def run_contestant(
    contestant: str,
    workload: Workload,
    dropout: float,
    tuning: dict[str, Any],
    same_batches: bool,
) -> dict[str, Any]:
    """Run one contestant once."""
    module, variant = CONTESTANTS[contestant]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job = {
            "contestant": contestant,
            "variant": variant,
            "workload": workload.name,
            "task": workload.task,
            "rows": workload.rows,
            "model": str(BUILD / "model"),
            "steps": workload.steps,
            "batch": workload.batch,
            "dropout": dropout,
            "method": workload.method,
            "tuning": tuning,
            "same_batches": same_batches,
            "result": f"{folder}/result.json",
        }
        names = ("workload", "contestant", "dropout", "steps", "batch", "tuning")
        facts = {name: job[name] for name in names}
        facts |= {"data": Path(workload.data).name if workload.data else None}
        facts |= {"same_batches": same_batches, "date": time.strftime("%Y-%m-%d")}
        own = environment() | {"TORCHINDUCTOR_CACHE_DIR": folder}  # nothing compiled earlier
        if tuning.get("allocator"):
            own["GLIBC_TUNABLES"] = tuning["allocator"]
        return facts | run_module(module, job, own)


def run_module(module: str, given: dict[str, Any], own: dict[str, str]) -> dict[str, Any]:
    """Run a module in a separate process: its measurements, or the last line of its error."""
    others = busy_seconds() - used_seconds()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", json.dumps(given)],
        cwd=ROOT, env=own, capture_output=True, text=True,
    )  # fmt: skip
    cores = (time.perf_counter() - started) * (os.cpu_count() or 1)
    facts = {"others": max(0.0, busy_seconds() - used_seconds() - others) / cores}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return facts | {"error": f"exit {done.returncode}: {last[0][:300]}"}
    return facts | json.loads(Path(given["result"]).read_text("utf-8"))


def busy_seconds() -> float:
    """Busy seconds of all cores for all processes; 0 where the system does not report them."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, *interrupts = (int(field) for field in fields[:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def used_seconds() -> float:
    """Busy seconds of this process and its children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def show(run: dict[str, Any]) -> None:
    """Print one line per run."""
    tuning = f" {run['tuning']}" if run["tuning"] else ""
    what = f"{run['workload']}, dropout {run['dropout']}, {run['contestant']}{tuning}:"
    if "error" in run:
        print(what, run["error"], flush=True)
    elif "gflops" in run:
        print(what, f"{run['gflops']:.0f} GFLOP/s", flush=True)
    else:
        seconds, losses = run["marks"][-1], run["losses"]
        print(what, f"{seconds:.1f} s, loss {losses[0]:.4f} to {losses[-1]:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
