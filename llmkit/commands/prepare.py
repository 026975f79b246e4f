"""The `prepare` command."""

import click

from llmkit.commands.loading import loading
from llmkit.commands.options import (
    overrides_argument,
    quiet_option,
    recipe_argument,
    scale_option,
)
from llmkit.commands.verb import Verb, examples


@click.command(
    cls=Verb,
    short_help="Tokenize the pretraining texts of a recipe into files.",
    epilog=examples(
        "llmkit prepare pretrain data.train=corpus.jsonl.zst",
        "llmkit prepare pretrain data.train='part-*.parquet' --output tokens",
        "llmkit finetune pretrain data.train=tokens                     trains on the tokens",
        "llmkit prepare pretrain data.train=tokens --verify             verifies the files",
    ),
)
@recipe_argument
@overrides_argument
@scale_option
@click.option(
    "--output",
    metavar="FOLDER",
    help="Output folder; default: a folder in the cache, where `finetune` finds it.",
)
@click.option(
    "--verify",
    "is_verified",
    is_flag=True,
    help="Verify the checksums of all files.",
)
@quiet_option
def prepare(
    recipe: str,
    overrides: tuple[str, ...],
    scale: str | None,
    output: str | None,
    is_verified: bool,
    is_quiet: bool,
) -> None:
    """Tokenize the pretraining texts of RECIPE into files that training maps into memory.

    If the command is interrupted, run it again with the same arguments: it continues from there.
    """
    with loading(is_quiet=is_quiet):
        from llmkit.paths import check_writable, expand
        from llmkit.runs.find import open_recipe

        settings = open_recipe(recipe, scale=scale, overrides=overrides)
        folder = None if output is None else expand(output)
        if folder is not None:
            check_writable(folder, "--output")
        from llmkit.runtime.console import make_console
        from llmkit.runtime.signals import Signals, Stopped
        from llmkit.workflows.prepare import prepare_recipe

    try:
        with Signals():
            prepare_recipe(settings, folder, make_console(quiet=is_quiet), is_verified=is_verified)
    except Stopped as stop:
        stop.advice = "; run the same command again to continue"
        raise
