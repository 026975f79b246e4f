"""Forecasts of `llmkit plan --trials` against whole runs: how often the interval holds the loss.

    python -m benchmarks.forecast [--seeds N] [NAME ...]

For each recipe and seed, runs of 1/32, 1/16 and 1/8 of the steps give the forecast; then the whole
run is trained in the same way, and its validation loss compared with the interval.
"""

import argparse
import time

from rich.console import Console

from llmkit.config.recipe import load_recipe
from llmkit.runtime.console import library_imports
from llmkit.runtime.devices import start_accelerator

LENGTH = ("train.epochs=null", "train.max_steps=640", "train.global_batch_size=8")
RECIPES = {
    "translate": ("translate", *LENGTH),
    "classify": ("classify", *LENGTH),
    "reason": ("reason", *LENGTH),
    "qa, LoRA": ("qa", *LENGTH, "train.method=lora"),
    "pretrain, scratch": ("pretrain", *LENGTH),
}


def forecast_one(arguments: tuple[str, ...], seed: int) -> tuple[float, float, float, float]:
    """(low, expected, high) of the forecast, and the loss of the whole run."""
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
    parser.add_argument("names", nargs="*", help=f"of {'; '.join(RECIPES)}")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    inside = number = 0
    print("| recipe | seed | 90 % interval | expected | actual | inside | s |")
    print("|---|---:|---|---:|---:|---|---:|")
    for name in arguments.names or RECIPES:
        for seed in range(arguments.seeds):
            started = time.perf_counter()
            low, expected, high, loss = forecast_one(RECIPES[name], seed)
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
