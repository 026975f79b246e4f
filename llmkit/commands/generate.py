"""The `generate` command."""

import os
import shlex
from pathlib import Path

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
from llmkit.io.standard_input import read_chunks
from llmkit.paths import row_format
from llmkit.runtime.signals import Signals

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
        "llmkit generate --model runs/a --max-new-tokens 20 < prompts.txt",
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
    "a txt file with one prompt per line; `-`: standard input.",
)
@click.option(
    "--output",
    "output_file",
    metavar="FILE",
    help="Write the input columns and predictions to FILE (csv, tsv, jsonl, json, parquet); "
    "default: print the predictions.",
)
@click.option(
    "--raw", is_flag=True, help="Pass prompts unchanged, without the run's prompt template."
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
    """Predict with a model or a run: for one prompt, for each row of a file, or for each line of
    standard input (the default).

    Arguments without = are the prompt. A classifier predicts a label with its probability.
    KEY=VALUE overrides a key of the run's recipe: data.columns.text=review. With
    data.skip_invalid=true, rows that are unreadable or too long are skipped and reported. To
    continue an interrupted --output FILE, run the same command again.
    """
    words = [word for word in overrides if "=" not in word]
    overrides = tuple(word for word in overrides if "=" in word)
    prompt = _check_words(words, prompt, input_file) if words else prompt
    check_keys(overrides, READ_KEYS)
    if prompt is not None and input_file is not None:
        raise UserError("give either --prompt TEXT or --input FILE")
    if as_json and output_file is not None:
        raise UserError("give either --json, which prints the predictions, or --output FILE")
    reads_stdin = input_file == "-" or (prompt is None and input_file is None)
    chunks = read_chunks() if reads_stdin else None
    with loading(is_quiet=is_quiet):
        from llmkit.generation.session import open_session
        from llmkit.runtime.console import make_console
        from llmkit.workflows.generate import (
            check_input,
            check_predictions,
            generate_from_file,
            generate_from_lines,
            generate_from_prompt,
        )

    rows = None if prompt is not None or reads_stdin else check_input(input_file)
    output = check_predictions(output_file, rows)
    console = make_console(stderr=True, quiet=is_quiet)
    with Signals():
        session = open_session(model, overrides, decoding, seed, console)
        if prompt is not None:
            generate_from_prompt(session, prompt, raw, output, as_json)
        elif chunks is not None:
            generate_from_lines(session, chunks, raw, output, as_json)
        else:
            generate_from_file(session, rows, raw, output, as_json)


def _check_words(words: list[str], prompt: str | None, input_file: str | None) -> str:
    """The prompt made of arguments without an option; raises UsageError if they look like something
    else."""
    text = " ".join(words)
    hint = _hint(words)
    if hint is None and prompt is None and input_file is None:
        return text
    whole = text if prompt is None else f"{prompt} {text}"
    hint = hint or f"did you mean --prompt {shlex.quote(whole)}?"
    raise click.UsageError(f"{words[0]!r} is not an option; {hint}")


def _hint(words: list[str]) -> str | None:
    """A suggestion for arguments that look like a file, a folder or a key; None for other text."""
    first = shlex.quote(words[0])
    is_alone = len(words) == 1
    if os.path.isfile(words[0]) or (is_alone and row_format(Path(words[0])) is not None):
        return f"did you mean --input {first}?"
    if os.path.isdir(words[0]):
        return f"did you mean --model {first}?"
    if words[0].startswith(READ_KEYS):
        return f"did you mean {words[0]}={'VALUE' if is_alone else shlex.quote(words[1])}?"
    return None
