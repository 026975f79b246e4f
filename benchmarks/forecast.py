"""Forecasts of `llmkit plan --trials` against full runs: how often the interval holds the loss.

    python -m benchmarks.forecast [--data FOLDER] [--seeds N] [NAME ...]

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

LENGTH = ("train.epochs=null", "train.max_steps=512", "evaluation.validation_rows=100")
FOUR_ROWS = (*LENGTH, "train.global_batch_size=4")
EIGHT_ROWS = (*LENGTH, "train.global_batch_size=8")
LORA = "train.method=lora"
EMBEDDED = {
    "qa": ("qa", *FOUR_ROWS),
    "classify, LoRA": ("classify", *EIGHT_ROWS, LORA),
    "chat, LoRA": ("chat", *EIGHT_ROWS, LORA),
    "instruct, LoRA": ("instruct", *EIGHT_ROWS, LORA),
}


def recipes(data: Path | None) -> dict[str, tuple[str, ...]]:
    """Name and overrides of each recipe."""
    if data is None:
        return EMBEDDED
    wikitext = f"data.train={data}/wikitext2/train.txt"
    embedded_model = ("model=embedded", "train.learning_rate=3e-4")
    return EMBEDDED | {
        "SST-2, LoRA": ("classify", *EIGHT_ROWS, *splits(data / "sst2"), LORA),
        "XQuAD": ("qa", *FOUR_ROWS, *splits(data / "xquad-en")),
        "GSM8K": ("reason", *FOUR_ROWS, *splits(data / "gsm8k")),
        "Multi30k, LoRA": ("translate", *EIGHT_ROWS, *splits(data / "multi30k-en-de"), LORA),
        "SciTLDR": ("summarize", *FOUR_ROWS, *splits(data / "scitldr")),
        "WikiText-2": ("pretrain", *FOUR_ROWS, wikitext, *embedded_model),
        "WikiText-2, scratch": ("pretrain", *FOUR_ROWS, wikitext),
    }


def splits(folder: Path) -> tuple[str, ...]:
    validation = folder / "validation.jsonl"
    return (
        f"data.train={folder}/train.jsonl",
        f"data.validation={validation}",
        f"data.test={validation}",
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
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    known = recipes(arguments.data)
    inside = number = 0
    print("| recipe | seed | 90 % interval | expected | actual | inside | s |")
    print("|---|---:|---|---:|---:|---|---:|")
    for name in arguments.names or known:
        for seed in range(arguments.seeds):
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
