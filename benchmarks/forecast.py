"""Forecasts of `llmkit plan --trials` against full runs: how often the interval holds the loss.

    python -m benchmarks.forecast [--data FOLDER] [--seeds N ...] [NAME ...]

For each recipe and seed, runs of 1/16 and 1/8 of the steps give the forecast; then the full
run is trained in the same way, and its validation loss compared with the interval. FOLDER holds
real data sets, each in a folder with train.jsonl and validation.jsonl (WikiText-2: train.txt).
"""

import argparse
import time
from pathlib import Path

from rich.console import Console

from llmkit.config.recipe import load_recipe
from llmkit.runtime.console import library_imports
from llmkit.runtime.devices import start_accelerator

LORA = "train.method=lora"
FAST = "train.learning_rate=1e-3"


def recipes(data: Path | None) -> dict[str, tuple[str, ...]]:
    """Name and overrides of each recipe; without FOLDER, only those of the embedded rows."""
    embedded_rows = {
        "summarize": ("summarize", *steps(512), "train.learning_rate=2e-4"),
        "reason, LoRA": ("reason", *steps(512), LORA),
        "chat": ("chat", *steps(512)),
    }
    if data is None:
        return embedded_rows
    wikitext = ("pretrain", *steps(512), f"data.train={data}/wikitext2/train.txt")
    return embedded_rows | {
        "Multi30k, LoRA": ("translate", *steps(1024), *splits(data / "multi30k-en-de"), LORA),
        "SST-2, LoRA": ("classify", *steps(1024), *splits(data / "sst2"), LORA),
        "GSM8K": ("reason", *steps(512), *splits(data / "gsm8k"), FAST),
        "XQuAD": ("qa", *steps(640), *splits(data / "xquad-en"), "train.learning_rate=1e-4"),
        "SciTLDR": ("summarize", *steps(512), *splits(data / "scitldr"), FAST),
        "WikiText-2": (*wikitext, "model=embedded", "train.learning_rate=1e-4"),
        "WikiText-2, scratch": (*wikitext, "train.learning_rate=2e-3"),
    }


def steps(number: int) -> tuple[str, ...]:
    """Overrides for a run of so many steps of 4 rows."""
    return ("train.epochs=null", f"train.max_steps={number}", "train.global_batch_size=4")


def splits(folder: Path) -> tuple[str, ...]:
    validation = folder / "validation.jsonl"
    return (
        f"data.train={folder}/train.jsonl",
        f"data.validation={validation}",
        f"data.test={validation}",
        "evaluation.validation_rows=100",
    )


def forecast_one(arguments: tuple[str, ...], seed: int) -> tuple[float, float, float, float]:
    """(low, expected, high) of the forecast, and the loss of the full run."""
    from llmkit.planning.proposals import LossModel
    from llmkit.workflows.estimate import schedule_of
    from llmkit.workflows.probes import mean_step
    from llmkit.workflows.training_setup import setup_training
    from llmkit.workflows.trials import run_trials, train_and_score

    recipe = load_recipe(arguments[0], overrides=(*arguments[1:], f"seed={seed}"))
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    setup = setup_training(recipe, accelerator, Console(quiet=True))
    num_steps = setup.schedule.num_steps
    trials = run_trials(setup, num_steps, Console(quiet=True))
    loss_model = LossModel(1, schedule_of(setup, mean_step(setup.schedule)))
    forecast = loss_model.with_trials(trials, num_steps)
    loss = train_and_score(setup, num_steps, num_steps, lambda steps: None)
    return (*forecast.loss(1, num_steps), loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="recipes to run; default: all")
    parser.add_argument("--data", type=Path, help="folder of real data sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[31])
    arguments = parser.parse_args()
    known = recipes(arguments.data)
    inside = number = 0
    print("| recipe | seed | 90 % interval | expected | actual | inside | s |")
    print("|---|---:|---|---:|---:|---|---:|")
    for name in arguments.names or known:
        for seed in arguments.seeds:
            started = time.perf_counter()
            low, expected, high, loss = forecast_one(known[name], seed)
            is_inside = low <= loss <= high
            inside, number = inside + is_inside, number + 1
            print(
                f"| {name} | {seed} | {low:.3f} to {high:.3f} | {expected:.3f} | {loss:.3f} "
                f"| {'yes' if is_inside else 'no'} | {time.perf_counter() - started:.0f} |",
                flush=True,
            )
    print(f"{inside} of {number} inside")


if __name__ == "__main__":
    with library_imports():
        main()
