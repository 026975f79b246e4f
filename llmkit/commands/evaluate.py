"""The `evaluate` command."""

import click

from llmkit.commands.completion import complete_recipe, complete_run
from llmkit.commands.limits import Limit, check_limits, fail_if_missed, fail_under_option
from llmkit.commands.loading import loading
from llmkit.commands.options import json_option, overrides_argument, quiet_option, scale_option
from llmkit.commands.verb import Verb, examples
from llmkit.errors import UserError
from llmkit.runtime.ranks import is_rank_zero


@click.command(
    cls=Verb,
    short_help="Score a model, a run or predictions.",
    epilog=examples(
        "llmkit evaluate runs/a",
        "llmkit evaluate gpt2 --recipe qa data.train=a.jsonl data.test=b.jsonl",
        "llmkit evaluate --predictions theirs.jsonl --recipe qa",
    ),
)
@click.argument("model", required=False, metavar="[MODEL_OR_RUN]", shell_complete=complete_run)
@overrides_argument
@click.option(
    "--predictions",
    metavar="FILE",
    help="Score this file instead: rows with `id` and `prediction`.",
)
@click.option(
    "--recipe",
    metavar="RECIPE",
    help="Name or YAML file of the recipe; default: the run's.",
    shell_complete=complete_recipe,
)
@scale_option
@click.option(
    "--output", metavar="DIR", help="Also write metrics.json and predictions.jsonl to DIR."
)
@fail_under_option
@quiet_option
@json_option
def evaluate(
    model: str | None,
    overrides: tuple[str, ...],
    predictions: str | None,
    recipe: str | None,
    scale: str | None,
    output: str | None,
    limits: list[Limit],
    is_quiet: bool,
    as_json: bool,
) -> None:
    """Score a model, a run or a file of predictions on the recipe's test rows, along with
    baselines."""
    if predictions is not None and model is not None:
        if "=" not in model:
            raise UserError(f"give either {model} or --predictions, not both")
        model, overrides = None, (model, *overrides)
    if predictions is None and model is None:
        raise UserError("name a model or a run, or give --predictions FILE")
    with loading(is_quiet=is_quiet):
        from llmkit.io.safe_json import to_json
        from llmkit.runs.find import open_recipe, recipe_of, resolve_model

        name, run = resolve_model(model) if model else (None, None)
        if recipe is None and run is None:
            what = f"{model}: not a run; check the path, or" if model else f"{predictions}:"
            raise UserError(f"{what} name the recipe to score with: --recipe RECIPE")
        if recipe is not None:
            settings = open_recipe(recipe, scale=scale, overrides=overrides)
        else:
            settings = recipe_of(run, scale=scale, overrides=overrides)
        from llmkit.data.recipe_task import recipe_task
        from llmkit.runtime.console import make_console
        from llmkit.runtime.signals import Signals
        from llmkit.workflows.evaluate import evaluate_model, evaluate_predictions

    task = recipe_task(settings)
    check_limits(limits, task)
    console = make_console(stderr=as_json, quiet=is_quiet)
    with Signals():  # on SIGTERM too, temporary files are deleted
        if predictions is None:
            results = evaluate_model(name, settings, console, output)
        else:
            results = evaluate_predictions(predictions, settings, console, output)
    test = results.pop("test")
    if not is_rank_zero():
        return
    if as_json:
        click.echo(to_json(test | ({"sets": results} if results else {}), indent=2))
    fail_if_missed(limits, test["scores"][test["main"]], task)
