"""The `plan` command."""

import click

from llmkit.commands.loading import loading
from llmkit.commands.options import (
    json_option,
    overrides_argument,
    recipe_argument,
    scale_option,
)
from llmkit.commands.verb import Verb, examples


@click.command(
    cls=Verb,
    short_help="Predict time, memory and disk space of a run, and propose changes for a budget.",
    epilog=examples(
        "llmkit plan summarize",
        "llmkit plan pretrain --budget 3h --memory 16GB --output plan.html",
        "llmkit plan summarize --scale full --device a100 --budget 8h",
    ),
)
@recipe_argument
@overrides_argument
@scale_option
@click.option("--budget", metavar="TIME", help="Time budget, such as 45m or 3h.")
@click.option("--memory", metavar="SIZE", help="Memory budget, such as 16GB.")
@click.option(
    "--device",
    metavar="NAME",
    help="Estimate for this GPU from its data sheet, such as a100 or rtx-4090.",
)
@click.option(
    "--trials",
    "runs_trials",
    is_flag=True,
    help="Train two short runs to forecast the loss; takes 3/16 of the budget.",
)
@click.option("--output", metavar="FILE", help="Also write the plan to FILE as an HTML page.")
@json_option
def plan(
    recipe: str,
    overrides: tuple[str, ...],
    scale: str | None,
    budget: str | None,
    memory: str | None,
    device: str | None,
    runs_trials: bool,
    output: str | None,
    as_json: bool,
) -> None:
    """Predict time, memory and disk space of a run of RECIPE by timing a few seconds of it.

    With --budget, --memory or --device, also propose changes that make the best use of them.
    """
    from llmkit.units import parse_bytes, parse_duration

    seconds = None if budget is None else parse_duration(budget)
    num_bytes = None if memory is None else parse_bytes(memory)
    with loading():
        from llmkit.io.safe_json import to_json
        from llmkit.paths import check_output
        from llmkit.planning.devices import find_device
        from llmkit.reports.plan import show_plan, write_html
        from llmkit.runs.find import open_recipe
        from llmkit.runtime.console import make_console
        from llmkit.runtime.signals import Signals
        from llmkit.workflows.plan import make_plan

        sheet = None if device is None else find_device(device)
        page = check_output(output, "--output", ".html")
        settings = open_recipe(recipe, scale=scale, overrides=overrides)
    console = make_console(stderr=as_json)
    with Signals():  # on SIGTERM too, temporary files are deleted
        result = make_plan(settings, console, seconds, num_bytes, sheet, runs_trials=runs_trials)
    if as_json:
        click.echo(to_json(result.as_dict(), ensure_ascii=False, indent=2))
    else:
        show_plan(make_console(), result)
    if page is not None:
        write_html(result, page)
