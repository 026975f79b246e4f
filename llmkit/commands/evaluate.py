"""The `evaluate` command."""

import click

from llmkit.commands.completion import complete_recipe, complete_run
from llmkit.commands.loading import loading
from llmkit.commands.options import overrides_argument, scale_option
from llmkit.commands.verb import Verb, examples
from llmkit.errors import UserError


@click.command(
    cls=Verb,
    short_help="Score a model, a run or predictions.",
    epilog=examples(
        "llmkit evaluate runs/a",
        "llmkit evaluate gpt2 --recipe summarize data.test=mine.jsonl",
        "llmkit evaluate --predictions theirs.jsonl --recipe qa",
    ),
)
@click.argument("model", required=False, metavar="[MODEL_OR_RUN]", shell_complete=complete_run)
@overrides_argument
@click.option("--predictions", metavar="FILE", help="Score these instead: rows of id, prediction.")
@click.option(
    "--recipe",
    metavar="RECIPE",
    help="Name or YAML file; default: the run's own.",
    shell_complete=complete_recipe,
)
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
    """Score a model, a run or a file of predictions on the recipe's test rows, beside the
    baselines."""
    if predictions is not None and model is not None:
        if "=" not in model:
            raise UserError(f"give one of {model} and --predictions")
        model, overrides = None, (model, *overrides)
    if predictions is None and model is None:
        raise UserError("name a model or a run, or give --predictions FILE")
    with loading():
        from llmkit.recipe import load_recipe
        from llmkit.run import recipe_path, resolve_model

        name, run = resolve_model(model) if model else (None, None)
        if recipe is None and run is None:
            what = f"{model}: not a run" if model else predictions
            raise UserError(f"{what}; name the recipe to score with: --recipe RECIPE")
        settings = load_recipe(recipe or str(recipe_path(run)), scale=scale, overrides=overrides)
        from llmkit.console import make_console
        from llmkit.evaluate import evaluate_model, evaluate_predictions

    if predictions is None:
        evaluate_model(name, settings, make_console(), output)
    else:
        evaluate_predictions(predictions, settings, make_console(), output)
