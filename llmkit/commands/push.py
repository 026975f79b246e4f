"""The `push` command."""

import os
import sys

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.loading import loading
from llmkit.commands.verb import Verb, examples
from llmkit.errors import UserError
from llmkit.runtime.signals import Signals


@click.command(
    cls=Verb,
    short_help="Upload a model to the Hugging Face hub.",
    epilog=examples(
        "llmkit push runs/a USER/NAME --dry-run",
        "llmkit push runs/a USER/NAME",
        "llmkit push runs/a USER/NAME --public --yes",
    ),
)
@click.argument("path", metavar="RUN", shell_complete=complete_run)
@click.argument("repo_id", metavar="USER/NAME")
@click.option(
    "--public", "is_public", is_flag=True, help="Publish the model; default: a private repo."
)
@click.option(
    "--force", "is_forced", is_flag=True, help="Replace a model of another task or base model."
)
@click.option(
    "--dry-run", "is_dry_run", is_flag=True, help="Show what would be uploaded, and upload nothing."
)
@click.option("-y", "--yes", "is_confirmed", is_flag=True, help="Upload without a question.")
def push(
    path: str,
    repo_id: str,
    is_public: bool,
    is_forced: bool,
    is_dry_run: bool,
    is_confirmed: bool,
) -> None:
    """Upload the model of RUN, its card and its scores to the repo USER/NAME of the Hugging Face
    hub, as one commit. RUN is a run, or the folder of a model or an export."""
    if not (is_dry_run or is_confirmed or sys.stdin.isatty()):
        raise UserError("push: there is no terminal to confirm the upload on; add --yes")
    if sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    with loading("llmkit: reading the model ..."):
        from llmkit.runtime.console import make_console
        from llmkit.workflows import push as workflow

    with Signals():  # on SIGTERM too, the upload can be continued
        plan = workflow.plan_push(path, repo_id, is_public=is_public, is_forced=is_forced)
        workflow.show_plan(make_console(), plan)
        if plan.changes_nothing:
            click.echo("nothing to upload: the repo is up to date")
        elif is_dry_run:
            click.echo("nothing was uploaded; to upload, run the command without --dry-run")
        elif is_confirmed or click.confirm(workflow.question(plan)):
            click.echo(f"pushed  {workflow.push(plan)}")
        else:
            click.echo("nothing was uploaded")
            sys.exit(1)
