"""The `chat` command."""

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
from llmkit.runtime.signals import Signals

# Keys of a run's recipe that affect answers; other keys cannot be overridden.
READ_KEYS = (
    "data.template", "data.max_length", "generation.", "train.device", "train.mixed_precision",
)  # fmt: skip


@click.command(
    cls=Verb,
    short_help="Chat with a model or a run.",
    epilog=examples(
        "llmkit chat",
        'llmkit chat --model runs/a --system "Answer in one word."',
        "llmkit chat --model runs/a --temperature 0.8 --top-p 0.9",
        "llmkit chat --model runs/a < questions.txt > answers.txt",
    ),
)
@overrides_argument
@model_option
@click.option("--system", metavar="TEXT", help="System prompt, for chat and instruct runs.")
@decoding_options
@seed_option
@quiet_option
def chat(overrides: tuple[str, ...], model: str | None, system: str | None, seed: int,
         is_quiet: bool, **decoding) -> None:  # fmt: skip
    """Chat with a model or a run in the terminal, or pipe in one message per line.

    A chat run keeps a conversation, whose oldest turns are dropped when the context is full. A
    plain language model continues each text. Runs of other tasks take each message as an
    independent input. Type /help for the commands.
    """
    words = [word for word in overrides if "=" not in word]
    if words:
        raise click.UsageError(f"{words[0]!r} is not an option; {_hint(words)}")
    check_keys(overrides, READ_KEYS)
    with loading(is_quiet=is_quiet):
        from llmkit.generation.session import open_session
        from llmkit.runtime.console import make_console
        from llmkit.workflows.chat import chat as chat_with

    console = make_console(stderr=True, quiet=is_quiet)
    with Signals():  # on SIGTERM, readline restores the terminal
        chat_with(open_session(model, overrides, decoding, seed, console), system)


def _hint(words: list[str]) -> str:
    """A suggestion for words that are neither options nor overrides."""
    if os.path.isdir(words[0]):
        return f"did you mean --model {shlex.quote(words[0])}?"
    text = shlex.quote(" ".join(words))
    return f"type it in the chat, or pipe it: echo {text} | llmkit chat"
