"""Reading chat messages, typed in a terminal or piped in."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import click

from llmkit.errors import UserError
from llmkit.runtime.signals import Interrupts

PROMPT, CONTINUATION_PROMPT = "> ", ". "
QUOTES = '"""'
BYTE_ORDER_MARK = "\ufeff"


class Message(NamedTuple):
    """A message from the user."""

    text: str
    where: str
    """Location in piped input, `line N`; empty in a terminal."""
    is_command: bool
    """Whether it is a command: a single line that begins with a slash."""


class MessageReader:
    """Reads messages from standard input.

    Each line is a message, except that a backslash at the end of a line continues it on the next,
    and that lines between triple quotes form one message. In a terminal, lines can be edited,
    Ctrl-C discards the current input, and a second Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self, interrupts: Interrupts) -> None:
        """Raises UserError if standard input is closed."""
        self.interrupts = interrupts
        if sys.stdin is None:
            raise UserError("standard input is closed; type messages, or pipe in one per line")
        self.is_terminal = sys.stdin.isatty()
        self.line_number = 0
        # Bytes that are not UTF-8 become lone surrogates, which `is_valid_unicode` finds.
        with suppress(AttributeError):
            sys.stdin.reconfigure(errors="surrogateescape")
        if self.is_terminal:
            with suppress(ImportError):  # absent on Windows
                import readline  # noqa: F401  input() then edits lines

    def __iter__(self) -> Iterator[Message]:
        """Yield the messages, including blank ones, until the end of the input."""
        was_interrupted = False
        while True:
            try:
                with self.interrupts.reading():
                    message = self._read_message()
            except KeyboardInterrupt:
                if was_interrupted or not self.is_terminal:
                    raise
                was_interrupted = True
                click.echo("\npress Ctrl-C again or type /quit to end the chat", err=True)
                continue
            if message is None:
                if self.is_terminal:
                    click.echo(err=True)  # the shell's prompt begins a new line
                return
            was_interrupted = False
            yield message

    def _read_message(self) -> Message | None:
        """The next message; None at the end of the input."""
        line = self._read_line(PROMPT)
        if line is None:
            return None
        where = "" if self.is_terminal else f"line {self.line_number}"
        if line.strip().startswith(QUOTES):
            return Message(self._read_quoted(line.strip()[len(QUOTES) :]), where, False)
        if not line.endswith("\\"):
            is_command = line.startswith("/") and "\n" not in line  # a pasted text has several
            return Message(line, where, is_command)
        lines = []
        while line is not None and line.endswith("\\"):
            lines.append(line[:-1])
            line = self._read_line(CONTINUATION_PROMPT)
        return Message("\n".join([*lines, line or ""]), where, False)

    def _read_quoted(self, line: str | None) -> str:
        """Read a message up to the closing quotes or the end of the input.

        line: The rest of the line after the opening quotes.
        """
        lines = []
        while line is not None and not line.rstrip().endswith(QUOTES):
            lines.append(line)
            line = self._read_line(CONTINUATION_PROMPT)
        if line is not None:
            lines.append(line.rstrip().removesuffix(QUOTES))
        return "\n".join(lines).strip("\n")

    def _read_line(self, prompt: str) -> str | None:
        """The next line without its line ending; None at the end of the input."""
        if self.is_terminal and sys.stdout.isatty():
            try:
                return input(prompt)
            except EOFError:
                return None
        if self.is_terminal:
            click.echo(prompt, nl=False, err=True)
        line = sys.stdin.readline()
        self.line_number += 1
        if self.line_number == 1 and not self.is_terminal:
            line = line.removeprefix(BYTE_ORDER_MARK)
        return line.removesuffix("\n").removesuffix("\r") if line else None


def is_valid_unicode(text: str) -> bool:
    """Whether a text read from standard input was valid UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
