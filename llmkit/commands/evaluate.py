"""The `evaluate` command."""

import click

from llmkit.commands.options import overrides_argument, scale_option
from llmkit.errors import UserError


@click.command()
@click.argument("model", required=False, metavar="MODEL_OR_RUN")
@overrides_argument
@click.option("--predictions", metavar="FILE", help="Score these instead: rows of id, prediction.")
@click.option("--recipe", metavar="RECIPE", help="Name or YAML file; default: the run's own.")
@scale_option
@click.option(
    "--output", metavar="DIR", help="Also write metrics.json and predictions.jsonl there."
)
def evaluate(
    model: str | None,
    overrides: tuple[str, ...],
    predictions: str | None,
    recipe: str | None,
    scale: str | None,
    output: str | None,
) -> None:
    """Score a model, a run or anyone's predictions on the recipe's test rows, beside the
    baselines."""
    from llmkit.recipe import load_recipe
    from llmkit.run import recipe_path, resolve_model

    if predictions is not None and model is not None:
        if "=" not in model:
            raise UserError(f"give one of {model} and --predictions")
        model, overrides = None, (model, *overrides)
    if predictions is None and model is None:
        raise UserError("name a model or a run, or give --predictions FILE")
    name, run = resolve_model(model) if model else (None, None)
    if recipe is None and run is None:
        what = f"{model}: is no run, so" if model else f"{predictions}:"
        raise UserError(f"{what} name what to score it on: --recipe RECIPE")
    settings = load_recipe(recipe or str(recipe_path(run)), scale=scale, overrides=overrides)
    from llmkit.console import library_imports, make_console

    with library_imports():
        from llmkit.evaluate import evaluate_model, evaluate_predictions

    if predictions is None:
        evaluate_model(name, settings, make_console(), output)
    else:
        evaluate_predictions(predictions, settings, make_console(), output)
