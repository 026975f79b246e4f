"""The `llmkit` command: a table of its verbs, its help and its exit codes."""

import errno
import os
import sys
from importlib import import_module

import click

from llmkit import __version__
from llmkit.config.hints import RECIPE_OPTIONS, command_hint, last_part
from llmkit.errors import OutOfMemory, UserError, did_you_mean
from llmkit.runtime.ranks import is_rank_zero
from llmkit.runtime.signals import Stopped

# In the order of the help. Each is a module of llmkit.commands, imported when it is needed, with a
# function of the same name.
VERBS = (
    "finetune", "check", "plan", "prepare", "evaluate", "compare", "report", "generate", "chat",
    "serve", "export", "quantize", "prune", "push", "recipes", "completion",
)  # fmt: skip
DISK_ADVICE = {
    errno.ENOSPC: "; free some space",
    errno.EDQUOT: "; free some space, or raise the quota",
    errno.EFBIG: "; raise the limit on the size of a file (ulimit -f), or choose another disk",
}
EPILOG = """\b
Examples:
  llmkit finetune summarize
  llmkit finetune classify data.train=reviews.csv train.epochs=2
  llmkit generate --prompt "The ferry was late again."

\b
Exit codes:
  0    done
  1    failure: disk full, out of memory, --fail-under
  2    mistake in the command, recipe or data
  130  stopped by Ctrl-C (128 + the signal's number)

\b
Environment variables:
  LLMKIT_CACHE     folder of encoded rows and tokens
  HF_HOME          folder of downloads from the hub
  HF_TOKEN         token for private models, and for push
  HF_HUB_OFFLINE   1: never contact the hub
  WANDB_PROJECT, TRACKIO_PROJECT
                   project to log to; llmkit if unset
  LLMKIT_TOKEN     token for clients of `llmkit serve`
  OMP_NUM_THREADS  threads per process; unset: free cores
  PYTORCH_ALLOC_CONF
                   GPU memory; unset: expandable segments
"""


class CommandGroup(click.Group):
    """Imports a command when it is needed. A user's mistake ends in one line and exit code 2,
    without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        return getattr(import_module(f"llmkit.commands.{name}"), name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            is_recipe = last_part(error.option_name) in RECIPE_OPTIONS
            advice = "llmkit finetune FILE" if is_recipe else "llmkit COMMAND [OPTIONS]"
            ctx.fail(f"No such option {error.option_name!r}; name a command first: {advice}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from llmkit.config.recipe_files import list_recipes

            recipes = [path.stem for path in list_recipes()]
            hint = command_hint(name, recipes) or did_you_mean(name, list(VERBS))
            there_are = f"there are {', '.join(VERBS)}"
            ctx.fail(f"No such command {name!r}; {hint.removeprefix('; ') or there_are}")
        return super().resolve_command(ctx, args)

    def main(self, *args, **kwargs):
        kwargs["standalone_mode"] = False
        kwargs["prog_name"] = "llmkit"  # for `python -m llmkit` too
        open_closed_streams()
        for stream in (sys.stdout, sys.stderr):  # a terminal without UTF-8 gets escapes
            stream.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(2)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "llmkit"
            verb = command.removeprefix("llmkit").strip()
            message = " ".join(error.format_message().split())
            stop = "" if message.endswith((".", "?")) else "."
            _fail(f"{verb + ': ' if verb else ''}{message}{stop} See `{command} --help`.", 2)
        except UserError as error:
            _fail(str(error), 2)
        except Stopped as stop:
            _fail_together(f"{stop}{advice_of(stop)}", stop.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail("stopped by Ctrl-C", 130)
        except FloatingPointError as error:
            _fail_together(f"{error}{advice_of(error)}", 1)
        except BrokenPipeError:
            sys.exit(1)
        except OSError as error:
            what = error.strerror or error
            advice = advice_of(error) or DISK_ADVICE.get(error.errno, "")
            _fail(f"{error.filename or 'the system'}: {what}{advice}", 1)
        except (MemoryError, RuntimeError) as error:
            from llmkit.runtime.failures import is_lost_connection, is_out_of_memory

            if is_lost_connection(error):
                _fail(f"another process of this run has ended{advice_of(error)}", 1)
            if not is_out_of_memory(error):
                raise
            is_explained = isinstance(error, OutOfMemory)
            problem = error if is_explained else "out of memory; lower evaluation.batch_size"
            _fail(f"{problem}{advice_of(error)}", 1)


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that the caller closed: no other file
    is then opened under its number, and printing does nothing."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def advice_of(error: BaseException) -> str:
    """The resume hint attached to an exception, if its run can be resumed."""
    return getattr(error, "advice", "")


def _fail(message: str, code: int) -> None:
    for line in message.splitlines():
        click.echo(f"llmkit: {line}", err=True)
    sys.exit(code)


def _fail_together(message: str, code: int) -> None:
    """`_fail` in all processes of a run, of which the first one prints the message."""
    if not is_rank_zero():
        sys.exit(code)
    _fail(message, code)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.version_option(__version__, prog_name="llmkit")
def main() -> None:
    """Fine-tune GPT-2 and measure what it gained."""
