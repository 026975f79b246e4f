"""The `generate` command."""

import click

from llmkit.commands.completion import complete_run
from llmkit.commands.loading import loading
from llmkit.commands.verb import Verb, examples
from llmkit.errors import UserError


@click.command(
    cls=Verb,
    short_help="Predict with a model or a run.",
    epilog=examples(
        'llmkit generate --prompt "The ferry was late again."',
        "llmkit generate --model runs/a --input new.csv --output predictions.csv",
    ),
)
@click.option("--prompt", metavar="TEXT", help="The prompt.")
@click.option(
    "--model",
    metavar="MODEL_OR_RUN",
    shell_complete=complete_run,
    help="Default: the newest finished run under runs/, else the embedded model.",
)
@click.option(
    "--input", "input_file", metavar="FILE", help="Rows with a prompt, or the task's columns, each."
)
@click.option(
    "--output", "output_file", metavar="FILE", help="Predictions as jsonl; default: print them."
)
@click.option(
    "--raw", is_flag=True, help="Pass --prompt as it is, without the run's prompt template."
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
def generate(prompt: str | None, model: str | None, input_file: str | None, output_file: str | None,
             raw: bool, seed: int, **decoding) -> None:  # fmt: skip
    """Complete prompts with a model or a run."""
    if (prompt is None) == (input_file is None):
        raise UserError("give one of --prompt TEXT and --input FILE")
    with loading():
        from llmkit.complete import check_input, complete_file, complete_prompt, open_completer
        from llmkit.console import make_console
    from llmkit.files import check_output

    rows = None if input_file is None else check_input(input_file)
    output = check_output(output_file)
    completer = open_completer(model, decoding, seed, make_console(stderr=True))
    if prompt is not None:
        complete_prompt(completer, prompt, raw, output)
    else:
        complete_file(completer, rows, output)
