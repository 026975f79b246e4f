"""Write RESULTS.md: the measured runs as tables."""

import json
import os
import platform
import statistics
from collections.abc import Iterable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

# GPT-2 124M: weights of the linear layers in its blocks, and of its head.
BODY, HEAD = 12 * 12 * 768**2, 50257 * 768
LONG_RUN = 100  # steps of plain language modelling over which a compilation is counted
LIBRARIES = ("llmkit", "torch", "transformers", "trl", "peft", "accelerate", "datasets")
MEANING = """\
Seconds cover the training steps, the first included, but not imports, loading and tokenization.
Each value is the median over the rounds, followed by the fastest and the slowest round. Useful
tokens exclude padding. "times llmkit" is the ratio of the medians; "after step 1" is the same ratio
without the first step, which also allocates memory and builds execution plans. Peers that group
rows by length start with the longest rows, so their first step is the most expensive one. "of GEMM"
is the arithmetic of the linear layers, (6 x body weights x tokens + 6 x head weights x supervised
tokens) FLOP in total, with 4 instead of 6 where the weights are frozen, divided by the seconds and
by the bf16 GEMM rate measured in the same rounds; llmkit skips the last block for tokens without a
label, which is not subtracted. "padding" is the share of padding in the model's input. Peak memory
is the maximum resident set size of the process.
"""

Run = dict[str, Any]


def write_report(runs_path: Path, output: Path, warmup: int) -> None:
    """Write the report of all runs in `runs_path` to `output`."""
    everything = [json.loads(line) for line in runs_path.read_text("utf-8").splitlines()]
    tuning = [run for run in everything if run["round"] == 0]
    around = [run for run in everything if run["workload"] == "around"]
    runs = [run for run in everything if run["round"] and run["workload"] != "around"]
    growth = [run for run in runs if run["workload"].startswith("growth")]
    rest = [run for run in runs if not run["workload"].startswith("growth")]
    parts = ["# Benchmark\n", machine(), others([*runs, *around], tuning), MEANING]
    for (workload, dropout), group in grouped(rest, "workload", "dropout").items():
        parts.append(section(workload, dropout, group, warmup))
    parts += [growth_section(group) for group in grouped(growth, "dropout").values()]
    parts += [around_section(run) for run in around]
    parts.append(settings_section(runs))
    parts += [tuning_section(tuning)] if tuning else []
    output.write_text("\n".join(parts), "utf-8")


def grouped(runs: Iterable[Run], *keys: str) -> dict[tuple, list[Run]]:
    """Group runs by the values of `keys`, in order of first appearance."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run[key] for key in keys), []).append(run)
    return groups


# ------------------------------------------------------------------------------ machine


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return (
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GiB; {platform.system()}, Python {platform.python_version()}; {versions}; "
        f"OMP_NUM_THREADS {threads}.\n"
    )


def others(runs: list[Run], tuning: list[Run]) -> str:
    """The load by other processes, without which timings are meaningless."""
    share, meanwhile = (max((run["others"] for run in each), default=0) for each in (runs, tuning))
    dates = sorted({run["date"] for run in runs})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return (
        f"Measured {when}. Other programs used at most {share:.0%} of the cores during a run"
        f"{': these timings are noisy' if share > 0.05 else ''}, and at most {meanwhile:.0%} while "
        "peers were tuned.\n"
    )


# ------------------------------------------------------------------------------- tables


def section(workload: str, dropout: float, runs: list[Run], warmup: int) -> str:
    """The table of one workload, with the data and the GEMM rate it is based on."""
    gemm = [run["gflops"] for run in runs if "gflops" in run]
    failures = [f"{run['contestant']}: {run['error']}" for run in runs if "error" in run]
    trained = grouped((run for run in runs if "marks" in run), "contestant")
    if not trained:
        return "\n".join([f"## {workload}, dropout {dropout:g}\n", *failures, ""])
    first = next(iter(trained.values()))[0]
    facts = (
        f"{first['data'] or 'Embedded rows'}: {first['steps']} steps of {first['batch']} rows, "
        f"{first['tokens']:,} tokens, {first['supervised']:,} of them supervised; "
        f"{len(next(iter(trained.values())))} rounds."
    )
    if gemm:
        facts += f" bf16 GEMM: {spread(gemm, 0)} GFLOP/s."
    if first["same_batches"]:
        facts += " No contestant groups rows by length here."
    rate = statistics.median(gemm) if gemm else None
    factor = 4 if workload == "lora" else 6
    names = (
        "contestant", "seconds", "times llmkit", "after step 1", "useful tokens/s", "of GEMM",
        "peak, GB", "padding", "first loss", "last loss",
    )  # fmt: skip
    reference = trained.get(("llmkit",))
    rows = [
        row(contestant, group, reference, rate, factor) for (contestant,), group in trained.items()
    ]
    parts = [f"## {workload}, dropout {dropout:g}\n", f"{facts}\n", table(names, rows)]
    if workload == "lm":
        parts.append(warm_table(trained, warmup))
    return "\n".join([*parts, *check_counts(trained), *failures, ""])


def row(
    contestant: str, runs: list[Run], reference: list[Run] | None, rate: float | None, factor: int
) -> list[str]:
    """The row of the table for one contestant."""
    seconds = [run["marks"][-1] for run in runs]
    median = statistics.median(seconds)
    first = runs[0]
    is_warm = reference is not None and first["steps"] > 1
    work = factor * (BODY * first["tokens"] + HEAD * first["supervised"]) / 1e9
    return [
        contestant,
        spread(seconds, 1),
        f"{median / median_seconds(reference):.2f}" if reference else "-",
        f"{median_seconds(runs, 1) / median_seconds(reference, 1):.2f}" if is_warm else "-",
        f"{first['tokens'] / median:,.0f}",
        f"{work / median / rate:.0%}" if rate else "-",
        f"{statistics.median(run['peak_bytes'] for run in runs) / 1e9:.1f}",
        f"{1 - first['tokens'] / first['fed']:.0%}" if "fed" in first else "-",
        f"{first['losses'][0]:.4f}",
        f"{first['losses'][-1]:.4f}",
    ]


def median_seconds(runs: list[Run], skipped: int = 0) -> float:
    """Seconds of a run without its first `skipped` steps."""
    return statistics.median(
        run["marks"][-1] - (run["marks"][skipped - 1] if skipped else 0.0) for run in runs
    )


def spread(values: list[float], digits: int) -> str:
    """Median, lowest and highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def warm_table(trained: dict[tuple, list[Run]], warmup: int) -> str:
    """Seconds of a step after compilation, seconds of the first steps, and the extrapolated seconds
    of a run of LONG_RUN steps."""
    if any(len(runs[0]["marks"]) <= warmup for runs in trained.values()):
        return f"There is no step after the first {warmup}.\n"
    befores, afters, costs = {}, {}, {}
    for name, runs in trained.items():
        befores[name] = [run["marks"][warmup - 1] for run in runs]
        afters[name] = [
            (run["marks"][-1] - run["marks"][warmup - 1]) / (run["steps"] - warmup) for run in runs
        ]
        step = statistics.median(afters[name])
        costs[name] = step, statistics.median(befores[name]) + (LONG_RUN - warmup) * step
    reference = costs.get(("llmkit",))
    rows = []
    for name, (step, total) in costs.items():
        ratios = (
            [f"{step / reference[0]:.2f}", f"{total / reference[1]:.2f}"] if reference else "--"
        )
        cells = [name[0], spread(befores[name], 1), spread(afters[name], 2), ratios[0]]
        rows.append([*cells, f"{total:,.0f}", ratios[1]])
    names = (
        "contestant", f"first {warmup} steps, s", "a later step, s", "later step, times llmkit",
        f"{LONG_RUN} steps, extrapolated, s", f"{LONG_RUN} steps, times llmkit",
    )  # fmt: skip
    text = (
        f"Extrapolated: the first {warmup} steps as measured, all later ones at the median of a "
        "later step.\n"
    )
    return f"{table(names, rows)}\n{text}"


def check_counts(trained: dict[tuple, list[Run]]) -> list[str]:
    """A warning if contestants were not given the same tokens and labels."""
    fed = {name: (runs[0]["tokens"], runs[0]["supervised"]) for (name,), runs in trained.items()}
    if len(set(fed.values())) == 1:
        return []
    return [f"NOT COMPARABLE: {name}: {t} tokens, {s} supervised" for name, (t, s) in fed.items()]


def table(names: Iterable[str], rows: list[list[str]]) -> str:
    names = list(names)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def growth_section(runs: list[Run]) -> str:
    """Time per token of llmkit as batches and rows grow, without the first step of each run."""
    cells = {run["workload"].removeprefix("growth "): per_token(run) for run in runs}
    sizes = [tuple(map(int, cell.split("x"))) for cell in cells]
    batches = sorted({batch for _, batch in sizes})
    rows = [
        [str(length), *(cells.get(f"{length}x{batch}", "") for batch in batches)]
        for length in sorted({length for length, _ in sizes})
    ]
    names = ["tokens in a row", *(f"batch {batch}" for batch in batches)]
    text = (
        "Milliseconds per token and, in parentheses, peak memory in GB; rows of random tokens, the "
        f"last eighth supervised, dropout {runs[0]['dropout']:g}, median of the steps after the "
        "first."
    )
    return "\n".join(["## Cost as work grows (llmkit)\n", f"{text}\n", table(names, rows)])


def per_token(run: Run) -> str:
    if "error" in run:
        return "failed"
    marks = run["marks"]
    seconds = statistics.median(end - start for start, end in pairwise(marks))
    tokens = run["tokens"] / run["steps"]
    return f"{1000 * seconds / tokens:.3f} ({run['peak_bytes'] / 1e9:.1f})"


def around_section(run: Run) -> str:
    """Seconds from the command to the first step, and from rows to tokens."""
    if "error" in run:
        return f"## Outside of the training steps\n\n{run['error']}\n"
    starts = [[name, spread(seconds, 1)] for name, seconds in run["starts"].items()]
    rows = []
    for task, facts in run["tokenizing"].items():
        seconds = facts["seconds"]
        own = statistics.median(seconds["llmkit"])
        ratios = [f"{statistics.median(seconds[way]) / own:.2f}" for way in ("call", "library")]
        cells = [f"{facts['rows']:,}", f"{facts['characters']:,}"]
        rows.append([task, *cells, *(spread(each, 2) for each in seconds.values()), *ratios])
    names = (
        "task", "rows", "characters", "llmkit, s", "`tokenizer(texts)`, s",
        "`encode_batch_fast(texts)`, s", "tokenizer / llmkit", "library / llmkit",
    )  # fmt: skip
    return "\n".join(
        [
            "## Outside of the training steps\n",
            "Seconds from the start of `llmkit finetune` to the end of the first step, on one "
            "embedded row; the matmul timings of the machine and the encoded rows are already "
            "cached.\n",
            table(("model", "seconds"), starts),
            "From the rows of a file to tokens: llmkit reads and checks the rows, builds prompts, "
            "tokens and labels, records the outcome of each row and writes the result to disk; the "
            "batch call of the tokenizer and that of the underlying library are given the finished "
            "texts, 1,000 at a time.\n",
            table(names, rows),
        ]
    )


def settings_section(runs: list[Run]) -> str:
    """The settings of each contestant."""
    lines = ["## Settings\n"]
    seen = {}
    for run in runs:
        if "settings" not in run or run["workload"].startswith("growth"):
            continue
        text = ", ".join(f"{name}={value}" for name, value in run["settings"].items())
        seen.setdefault((run["contestant"], text), []).append(
            f"{run['workload']} {run['dropout']:g}"
        )
    for (contestant, text), where in seen.items():
        lines.append(f"- **{contestant}** ({', '.join(dict.fromkeys(where))}): `{text}`")
    return "\n".join([*lines, ""])


def tuning_section(runs: list[Run]) -> str:
    """The settings tried for each tuned peer, fastest first."""
    lines = ["## Settings tried for the tuned peers\n"]
    lines.append(
        "Seconds after the first step, one run each; the first setting of each line was used.\n"
    )
    for (name, workload, dropout), group in grouped(
        runs, "contestant", "workload", "dropout"
    ).items():
        tried = [
            (run["marks"][-1] - run["marks"][0], run["tuning"]) for run in group if "marks" in run
        ]
        shown = [
            f"{seconds:.1f} ({', '.join(f'{k}={v}' for k, v in tuning.items() if v)})"
            for seconds, tuning in sorted(tried, key=lambda each: each[0])
        ]
        lines.append(f"- **{name}**, {workload}, dropout {dropout:g}: {'; '.join(shown)}")
    return "\n".join([*lines, ""])
