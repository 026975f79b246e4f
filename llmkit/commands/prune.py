"""The `prune` command."""

from dataclasses import asdict

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.loading import loading
from llmkit.commands.options import json_option, overrides_argument, quiet_option
from llmkit.commands.verb import NumberOption, Verb, examples


@click.command(
    cls=Verb,
    short_help="Prune a run's model, and train it to recover.",
    epilog=examples(
        "llmkit prune runs/a --share 0.3",
        "llmkit prune runs/a --share 0.1 --share 0.3 --share 0.5 --method magnitude",
        "llmkit generate --model runs/a/pruned/structured-30/recovered --input new.csv",
    ),
)
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@overrides_argument
@click.option(
    "--share",
    "shares",
    cls=NumberOption,
    metavar="S",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    required=True,
    help="Share of the weights of the transformer blocks to remove, between 0 and 1. Repeatable.",
)
@click.option(
    "--method",
    type=click.Choice(["structured", "magnitude"]),
    default="structured",
    help="structured: whole blocks and neurons of the MLPs; magnitude: set the smallest weights "
    "to 0; default: structured.",
)
@click.option(
    "--recover",
    "num_steps",
    cls=NumberOption,
    metavar="STEPS",
    type=click.IntRange(0),
    help="Optimizer steps of the training after pruning; default: a third of those of RUN.",
)
@click.option("--force", "is_forced", is_flag=True, help="Replace existing pruned models.")
@quiet_option
@json_option
def prune(
    run: str,
    overrides: tuple[str, ...],
    shares: tuple[float, ...],
    method: str,
    num_steps: int | None,
    is_forced: bool,
    is_quiet: bool,
    as_json: bool,
) -> None:
    """Prune the model of a finished run, and train it with the recipe of the run to recover.

    Writes to RUN/pruned, a folder for each share, and shows size, score and speed before, after
    pruning and after recovery. KEY=VALUE overrides the recipe of the recovery.
    """
    with loading(is_quiet=is_quiet):
        from llmkit.io.safe_json import to_json
        from llmkit.reports.pruning import show_pruned
        from llmkit.runs.folder import pruned_plot_path
        from llmkit.runtime.console import make_console
        from llmkit.runtime.signals import Signals
        from llmkit.workflows.prune import plan_pruning, prune_run

    console = make_console(stderr=as_json, quiet=is_quiet)
    plan = plan_pruning(run, shares, method, num_steps, overrides)
    with Signals() as signals:  # on SIGTERM too, the command can be continued
        pruned = prune_run(plan, console, signals, is_forced=is_forced)
    show_pruned(console, pruned)
    console.print(f"models: {plan.folder(plan.shares[0]).parent}")
    console.print(f"plot: {pruned_plot_path(plan.run, method)}")
    if as_json:
        click.echo(to_json(asdict(pruned), indent=2))
