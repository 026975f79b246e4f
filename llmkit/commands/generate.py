"""The `generate` command."""

import os
import shlex

import click

from llmkit.commands.loading import loading
from llmkit.commands.options import (
    check_keys,
    decoding_options,
    model_option,
    overrides_argument,
    quiet_option,
    seed_option,
)
from llmkit.commands.verb import Verb, examples
from llmkit.errors import UserError

# Keys of a run's recipe that affect predictions; other keys cannot be overridden.
READ_KEYS = (
    "data.columns.", "data.encoding", "data.skip_invalid", "data.template", "data.max_length",
    "generation.", "evaluation.batch_size", "train.device", "train.mixed_precision",
)  # fmt: skip


@click.command(
    cls=Verb,
    short_help="Predict with a model or a run.",
    epilog=examples(
        'llmkit generate --prompt "The ferry was late again."',
        "llmkit generate --model runs/a --input new.csv --output predictions.csv",
        "llmkit generate --model runs/a --input new.csv data.columns.text=review",
        "llmkit generate --model runs/a --input new.csv data.skip_invalid=true",
    ),
)
@overrides_argument
@click.option("--prompt", metavar="TEXT", help="Prompt to complete.")
@model_option
@click.option(
    "--input",
    "input_file",
    metavar="FILE",
    help="File of rows with the task's columns or a `prompt` (jsonl, json, csv, tsv, parquet), or "
    "a txt file with one prompt per line.",
)
@click.option(
    "--output",
    "output_file",
    metavar="FILE",
    help="Write the predictions and the input's columns to FILE (csv, tsv, jsonl, json, parquet); "
    "default: print the predictions.",
)
@click.option(
    "--raw", is_flag=True, help="Pass prompts as they are, without the run's prompt template."
)
@decoding_options
@click.option(
    "--num-return-sequences", metavar="N", type=int, help="Number of completions per prompt."
)
@seed_option
@quiet_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print each prediction as one line of JSON on stdout."
)
def generate(overrides: tuple[str, ...], prompt: str | None, model: str | None,
             input_file: str | None, output_file: str | None, raw: bool, seed: int,
             is_quiet: bool, as_json: bool, **decoding) -> None:  # fmt: skip
    """Predict with a model or a run, for one prompt or for each row of a file.

    A classifier returns the most likely label and the probability of every label. KEY=VALUE
    overrides a key of the run's recipe: data.columns.text=review. data.skip_invalid=true skips and
    reports rows that cannot be read or are too long for the model.
    """
    words = [word for word in overrides if "=" not in word]
    if words:
        raise click.UsageError(f"{words[0]!r} is not an option; {_hint(words)}")
    check_keys(overrides, READ_KEYS)
    if (prompt is None) == (input_file is None):
        raise UserError("give either --prompt TEXT or --input FILE")
    if as_json and output_file is not None:
        raise UserError("give either --json, which prints predictions, or --output FILE")
    with loading(is_quiet=is_quiet):
        from llmkit.generation.session import open_session
        from llmkit.runtime.console import make_console
        from llmkit.workflows.generate import (
            check_input,
            check_predictions,
            generate_from_file,
            generate_from_prompt,
        )

    rows = None if input_file is None else check_input(input_file)
    output = check_predictions(output_file, rows)
    console = make_console(stderr=True, quiet=is_quiet)
    session = open_session(model, overrides, decoding, seed, console)
    if prompt is not None:
        generate_from_prompt(session, prompt, raw, output, as_json)
    else:
        generate_from_file(session, rows, raw, output, as_json)


def _hint(words: list[str]) -> str:
    """The option that words without one were probably meant for."""
    text = shlex.quote(" ".join(words))
    if os.path.isfile(words[0]):
        return f"did you mean --input {shlex.quote(words[0])}?"
    if os.path.isdir(words[0]):
        return f"did you mean --model {shlex.quote(words[0])}?"
    return f"did you mean --prompt {text}?"
