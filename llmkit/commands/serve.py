"""The `serve` command."""

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
    """An option for a limit."""
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
    help="Address to listen on; default: 127.0.0.1. Any that other machines reach needs a token.",
)
@click.option(
    "--port",
    cls=NumberOption,
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8000,
    help="Port to listen on; default: 8000. 0: any free one.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="File with the token that clients have to send; default: the variable LLMKIT_TOKEN.",
)
@click.option(
    "--allow-host", "hosts", metavar="NAME", multiple=True,
    help="Accept NAME in the Host header, as behind a proxy; may be repeated.",
)  # fmt: skip
@click.option(
    "--allow-origin", "origins", metavar="ORIGIN", multiple=True,
    help="Let scripts of this web site ask, such as https://example.org; may be repeated.",
)  # fmt: skip
@number_option("--max-rows", None, 1, "Most completions that are computed at the same time; "
               "default: evaluation.batch_size.")  # fmt: skip
@number_option("--max-queue", 64, 0, "Most completions that wait; default: 64.")
@number_option("--max-body-bytes", 2**20, 1, "Most bytes of a request's body; default: 1048576.")
@number_option("--max-prompt-tokens", None, 1, "Most tokens of a prompt; default: the model's.")
@number_option("--max-new-tokens", None, 1, "Most new tokens that a request may ask for; "
               "default: the model's.")  # fmt: skip
@number_option("--timeout", 300.0, 0.1, "Seconds until a completion is ended; default: 300.")
@number_option("--read-timeout", 30.0, 0.1, "Seconds until a client that stalls is disconnected; "
               "default: 30.")  # fmt: skip
@number_option("--max-connections", 256, 1, "Most open connections; default: 256.")
@number_option("--grace", 30.0, 0.0, "Seconds that running requests get after SIGTERM or Ctrl-C; "
               "default: 30.")  # fmt: skip
@quiet_option
def serve(overrides: tuple[str, ...], model: str | None, host: str, port: int,
          token_file: str | None, hosts: tuple[str, ...], origins: tuple[str, ...],
          max_rows: int | None, is_quiet: bool, **limits) -> None:  # fmt: skip
    """Serve a model or a run over HTTP, with OpenAI's API and a chat page.

    KEY=VALUE overrides a key of the run's recipe: generation.temperature=0.7. Requests are computed
    together. The first SIGTERM or Ctrl-C lets running requests finish, the second stops at once.
    """
    words = [word for word in overrides if "=" not in word]
    if words:
        raise click.UsageError(f"{words[0]!r} is not an option; did you mean --model?")
    check_keys(overrides, READ_KEYS)
    with loading(is_quiet=is_quiet):
        try:
            from llmkit.serving import server
        except ModuleNotFoundError as error:
            if error.name not in PACKAGES:
                raise
            raise UserError(
                f"serve needs {error.name}, which is not installed: pip install 'llmkit[serve]'"
            ) from None
        from llmkit.runtime.console import make_console
        from llmkit.serving.security import Access, Limits, read_token

    access = Access(host, read_token(token_file), hosts, origins)
    console = make_console(stderr=True, quiet=is_quiet)
    server.serve(model, overrides, access, port, Limits(**limits), max_rows, console)
