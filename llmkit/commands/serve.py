"""The `serve` command."""

import shlex

import click

from llmkit.commands.loading import loading
from llmkit.commands.options import check_keys, model_option, overrides_argument, quiet_option
from llmkit.commands.verb import NumberOption, Verb, examples
from llmkit.errors import UserError

# Keys of a run's recipe that affect what is served; other keys cannot be overridden.
READ_KEYS = (
    "data.template", "data.max_length", "generation.", "evaluation.batch_size", "train.device",
    "train.mixed_precision",
)  # fmt: skip
PACKAGES = ("prometheus_client", "starlette", "uvicorn")  # of the extra `serve`


def number_option(name: str, default: float | None, least: float, help: str):
    """A numeric option, at least `least`."""
    kind = click.FloatRange if isinstance(default, float) else click.IntRange
    return click.option(
        name, cls=NumberOption, metavar="N", type=kind(least), default=default, help=help
    )


@click.command(
    cls=Verb,
    short_help="Serve a model over HTTP.",
    epilog=examples(
        "llmkit serve --model runs/a",
        "llmkit serve --model runs/a --port 9000 generation.temperature=0.7",
        "llmkit serve --host 0.0.0.0 --token-file token.txt",
    ),
)
@overrides_argument
@model_option
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="Address to listen on; default: 127.0.0.1. Addresses that other machines can reach "
    "require a token.",
)
@click.option(
    "--port",
    cls=NumberOption,
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8000,
    help="Port to listen on; default: 8000. 0: any free port.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="File with the access token for clients; default: environment variable LLMKIT_TOKEN.",
)
@click.option(
    "--allow-host", "hosts", metavar="NAME", multiple=True,
    help="Accept NAME in the Host header, e.g. behind a proxy; repeatable.",
)  # fmt: skip
@click.option(
    "--allow-origin", "origins", metavar="ORIGIN", multiple=True,
    help="Allow cross-origin requests from ORIGIN, e.g. https://example.org; repeatable.",
)  # fmt: skip
@number_option("--max-rows", None, 1, "Maximum number of concurrent completions; "
               "default: evaluation.batch_size.")  # fmt: skip
@number_option("--max-queue", 64, 0, "Maximum number of waiting completions; default: 64.")
@number_option("--max-body-bytes", 2**20, 1, "Maximum size of a request body; default: 1048576.")
@number_option(
    "--max-prompt-tokens", None, 1, "Maximum length of a prompt; default: the context length."
)
@number_option("--max-new-tokens", None, 1, "Maximum value of max_tokens in a request; "
               "default: the context length.")  # fmt: skip
@number_option("--timeout", 300.0, 0.1, "Maximum seconds per request, including the preparation of "
               "the prompt; default: 300.")  # fmt: skip
@number_option("--read-timeout", 30.0, 0.1, "Seconds until a stalled client is disconnected; "
               "default: 30.")  # fmt: skip
@number_option("--max-connections", 256, 1, "Maximum number of connections; default: 256.")
@number_option("--grace", 30.0, 0.0, "Seconds to finish running requests after SIGTERM or Ctrl-C; "
               "default: 30.")  # fmt: skip
@quiet_option
def serve(overrides: tuple[str, ...], model: str | None, host: str, port: int,
          token_file: str | None, hosts: tuple[str, ...], origins: tuple[str, ...],
          max_rows: int | None, is_quiet: bool, **limits) -> None:  # fmt: skip
    """Serve a model or a run over HTTP, with an OpenAI-compatible API and a chat page.

    Concurrent requests share a batch. KEY=VALUE overrides a key of the run's recipe:
    generation.temperature=0.7. On SIGTERM or Ctrl-C, running requests are finished first; a second
    signal exits immediately.
    """
    words = [word for word in overrides if "=" not in word]
    if words:
        raise click.UsageError(
            f"{words[0]!r} is not an option; did you mean --model {shlex.quote(words[0])}?"
        )
    check_keys(overrides, READ_KEYS)
    with loading(is_quiet=is_quiet):
        try:
            from llmkit.serving import server
        except ModuleNotFoundError as error:
            if error.name not in PACKAGES:
                raise
            raise UserError(f"serve requires {error.name}: pip install 'llmkit[serve]'") from None
        from llmkit.runtime.console import make_console
        from llmkit.serving.security import Access, Limits, read_token

    access = Access(host, read_token(token_file), hosts, origins)
    console = make_console(stderr=True, quiet=is_quiet)
    server.serve(model, overrides, access, port, Limits(**limits), max_rows, console)
