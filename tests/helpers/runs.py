"""Runs in the test process, and the folder of scripts for other processes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from llmkit.paths import cache_folder

HELPERS = Path(__file__).parent

# Overrides of a run of two steps.
SHORT = (
    "data.max_length=128", "train.epochs=null", "train.max_steps=2", "train.global_batch_size=4",
    "evaluation.validation_rows=4", "evaluation.test_rows=4", "generation.max_new_tokens=4",
)  # fmt: skip


def forget_accelerator() -> None:
    """Reset accelerate, which keeps the first precision it was given in a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def with_timings(cache: Path) -> Path:
    """A new cache that only has the timings of this machine, which take a second to measure."""
    timings = cache_folder() / "tuning"
    cache.mkdir(parents=True)
    if timings.is_dir():
        shutil.copytree(timings, cache / "tuning")
    return cache


def spoil_weights(folder: Path) -> None:
    """Replace a weight of a matrix in a model folder by NaN."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    next(weight for weight in weights.values() if weight.dim() == 2)[0, 0] = float("nan")
    save_file(weights, path, {"format": "pt"})


def start_ranks(arguments, environments, folders):
    """Start one process of the command line for each environment; returns (code, output, errors)
    of each."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "llmkit", *map(str, arguments)],
            env=environment, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for environment, folder in zip(environments, folders, strict=True)
    ]  # fmt: skip
    said = [process.communicate() for process in processes]
    return [(p.returncode, *each) for p, each in zip(processes, said, strict=True)]


def read_metrics(run: Path) -> tuple[list[dict], list[dict]]:
    """The lines of a run's metrics.jsonl: of steps, and of validations."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return (
        [line for line in lines if "split" not in line],
        [line for line in lines if "split" in line],
    )


def log_of(run: Path) -> dict[tuple[int, str, str], float]:
    """Losses and the scores of validations."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    left_out = ("step", "split", "is_best", "tokens_per_second", "grad_norm", "learning_rate")
    return {
        (line["step"], line.get("split", "train"), name): value
        for line in lines
        for name, value in line.items()
        if name not in left_out
    }


def four_steps(model: Path, folder: Path, *overrides: str):
    """A recipe of four steps on 24 rows."""
    from rows import summary_rows, write_jsonl

    from llmkit.config.recipe import load_recipe

    path = write_jsonl(folder / "rows.jsonl", summary_rows(24))
    return load_recipe(
        "summarize",
        overrides=(
            f"model={model}",
            *(f"data.{split}={path}" for split in ("train", "validation", "test")),
            "data.max_length=128", "train.epochs=null", "train.max_steps=4",
            "train.global_batch_size=8", "train.log_every=1", "train.mixed_precision=no",
            "evaluation.validation_rows=4", "evaluation.test_rows=4",
            "generation.max_new_tokens=4", *overrides,
        ),
    )  # fmt: skip


def strict_lines(path):
    """The rows of a .jsonl file, as a parser reads them that knows no NaN and no Infinity."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
