"""Arguments and options that several commands take."""

import shlex
from collections.abc import Callable

import click

from llmkit.commands.completion import (
    complete_override,
    complete_recipe,
    complete_run,
    complete_scale,
)
from llmkit.commands.verb import NumberOption
from llmkit.config.hints import meant_option
from llmkit.errors import UserError

recipe_argument = click.argument("recipe", shell_complete=complete_recipe)
overrides_argument = click.argument(
    "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_override
)
scale_option = click.option(
    "--scale",
    metavar="NAME",
    help="Scale of the recipe: sample (minutes, no network) or full.",
    shell_complete=complete_scale,
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object on stdout."
)
quiet_option = click.option(
    "-q", "--quiet", "is_quiet", is_flag=True, help="Print warnings and errors only."
)
model_option = click.option(
    "--model",
    metavar="MODEL_OR_RUN",
    shell_complete=complete_run,
    help="Model or run; default: the newest finished run in runs/, or the embedded model.",
)
seed_option = click.option(
    "--seed",
    cls=NumberOption,
    metavar="N",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    help="Random seed for sampling; default: 0.",
)
# Keys of a recipe by which a command for a run chooses other test rows, and how they are read.
TEST_ROWS_KEYS = (
    "data.test", "data.columns.", "data.encoding", "data.skip_invalid", "evaluation.test_rows",
)  # fmt: skip
# Their names are those of the keys of `generation`.
DECODING_OPTIONS = (
    click.option(
        "--max-new-tokens", metavar="N", type=int, help="Maximum length of a completion, in tokens."
    ),
    click.option(
        "--min-new-tokens", metavar="N", type=int, help="Minimum length of a completion, in tokens."
    ),
    click.option(
        "--temperature", metavar="X", type=float, help="Sampling temperature; 0 decodes greedily."
    ),
    click.option("--top-k", metavar="N", type=int, help="Sample from the N most likely tokens."),
    click.option(
        "--top-p",
        metavar="X",
        type=float,
        help="Sample from the smallest set of most likely tokens with total probability X.",
    ),
    click.option(
        "--min-p",
        metavar="X",
        type=float,
        help="Sample from tokens with at least X times the probability of the most likely one.",
    ),
    click.option(
        "--repetition-penalty",
        metavar="X",
        type=float,
        help="Penalty on tokens that already occur in the prompt or completion; 1: none.",
    ),
    click.option(
        "--no-repeat-ngram-size",
        metavar="N",
        type=int,
        help="Size of the n-grams, in tokens, that may occur only once; 0: no limit.",
    ),
    click.option(
        "--num-beams", metavar="N", type=int, help="Number of beams; 1 disables beam search."
    ),
    click.option(
        "--length-penalty",
        metavar="X",
        type=float,
        help="Above 0: favor longer beams; below 0: favor shorter ones.",
    ),
    click.option(
        "--stop",
        metavar="TEXT",
        multiple=True,
        help="Stop string: the completion ends before it; repeatable.",
    ),
    click.option(
        "--choices",
        metavar="TEXT",
        multiple=True,
        help="Constraint: the completion is one of these texts; repeatable.",
    ),
    click.option(
        "--regex",
        metavar="REGEX",
        help="Constraint: the whole completion matches REGEX.",
    ),
    click.option(
        "--json-schema",
        metavar="FILE",
        help="Constraint: the completion is JSON that conforms to the JSON Schema in FILE.",
    ),
)


def decoding_options(command: Callable) -> Callable:
    """Add the options that override the `generation` section of a run's recipe."""
    for option in reversed(DECODING_OPTIONS):
        command = option(command)
    return command


def check_keys(overrides: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise UserError for a KEY=VALUE that the current command does not use.

    known: Keys that it uses, and prefixes of such keys, which end with a dot.
    """
    command = click.get_current_context().command
    options = [option for parameter in command.params for option in parameter.opts]
    for override in overrides:
        if override.startswith(known):
            continue
        key, _, value = override.partition("=")
        option = meant_option(key, options)
        if option is not None:
            raise UserError(f"{override}: did you mean {option} {shlex.quote(value)}?")
        keys = ", ".join(key.removesuffix(".") for key in known)
        raise UserError(f"{override}: {command.name} takes only {keys} from a recipe; remove this")
