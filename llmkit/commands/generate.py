"""The `generate` command."""

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.loading import loading
from llmkit.commands.options import overrides_argument
from llmkit.commands.verb import Verb, examples
from llmkit.errors import UserError


@click.command(
    cls=Verb,
    short_help="Predict with a model or a run.",
    epilog=examples(
        'llmkit generate --prompt "The ferry was late again."',
        "llmkit generate --model runs/a --input new.csv --output predictions.csv",
        "llmkit generate --model runs/a --input new.csv data.columns.text=review",
    ),
)
@overrides_argument
@click.option("--prompt", metavar="TEXT", help="The prompt.")
@click.option(
    "--model",
    metavar="MODEL_OR_RUN",
    shell_complete=complete_run,
    help="Default: the newest finished run under runs/, else the embedded model.",
)
@click.option(
    "--input",
    "input_file",
    metavar="FILE",
    help="Rows with the task's columns or a `prompt` (jsonl, json, csv, tsv, parquet), or a txt "
    "file with a prompt on each line.",
)
@click.option(
    "--output",
    "output_file",
    metavar="FILE",
    help="Write the predictions, and the input's columns, to this csv, tsv, jsonl, json or parquet "
    "file; default: print the predictions.",
)
@click.option(
    "--raw", is_flag=True, help="Pass prompts as they are, without the run's prompt template."
)
@click.option("--max-new-tokens", type=int, help="Longest completion, in tokens.")
@click.option("--min-new-tokens", type=int, help="Shortest completion, in tokens.")
@click.option("--temperature", type=float, help="0: the likeliest token; above: sample.")
@click.option("--top-k", type=int, help="Sample among so many likeliest tokens.")
@click.option("--top-p", type=float, help="Sample among the tokens that hold this probability.")
@click.option("--num-beams", type=int, help="Beam search with so many beams.")
@click.option("--num-return-sequences", type=int, help="Completions for each prompt.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of the sampling.",
)
def generate(overrides: tuple[str, ...], prompt: str | None, model: str | None,
             input_file: str | None, output_file: str | None, raw: bool, seed: int,
             **decoding) -> None:  # fmt: skip
    """Predict with a model or a run: for one prompt, or for each row of a file.

    A classifier gives the likeliest label and the probability of every label. KEY=VALUE overrides
    the run's recipe: data.columns.text=review
    """
    if (prompt is None) == (input_file is None):
        raise UserError("give one of --prompt TEXT and --input FILE")
    with loading():
        from llmkit.complete import (
            check_input,
            check_output,
            complete_file,
            complete_prompt,
            open_session,
        )
        from llmkit.console import make_console

    rows = None if input_file is None else check_input(input_file)
    output = check_output(output_file, rows)
    session = open_session(model, overrides, decoding, seed, make_console(stderr=True))
    if prompt is not None:
        complete_prompt(session, prompt, raw, output)
    else:
        complete_file(session, rows, raw, output)
