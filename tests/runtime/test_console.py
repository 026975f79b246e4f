"""Tables that fit the terminal, and progress that is a line in a file."""

import sys

import pytest
from rich.console import Console

from llmkit.runtime import console as module
from llmkit.runtime.console import (
    counting,
    make_console,
    print_generated,
    python_call,
    show_table,
    warning_console,
)

HEADER = ["system", "rougeL", "rougeLsum"]
GROUPS = [[["fine-tuned", "12.34", "56.78"]], [["untuned", "1.00", ""]]]


@pytest.mark.parametrize("width", [20, 80])
def test_every_cell_of_a_table_is_shown_at_any_width(width):
    console = Console(width=width)
    with console.capture() as captured:
        show_table(console, HEADER, GROUPS)
    shown = captured.get()
    for cell in ("fine-tuned", "12.34", "56.78", "untuned", "1.00"):
        assert cell in shown
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("is_dumb_terminal", [False, True])
def test_progress_is_printed_as_lines_where_no_bar_can_be_shown(monkeypatch, is_dumb_terminal):
    monkeypatch.setattr(module, "SECONDS_PER_LINE", 0)
    if is_dumb_terminal:
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("FORCE_COLOR", "1")  # the console takes its output for a terminal
    console = make_console()
    assert console.is_terminal == is_dumb_terminal
    with console.capture() as captured, counting(console, "rows", 4) as advance:
        advance(1)
        advance(3)
    (line,) = captured.get().splitlines()
    assert line.startswith("rows  1/4  ")


def test_only_the_first_process_prints_warnings(monkeypatch, capfd):
    warning_console().print("first")
    monkeypatch.setenv("RANK", "1")
    warning_console().print("second")
    assert capfd.readouterr().err == "first\n"


def test_a_call_from_python_prints_warnings_only_if_verbose(capfd):
    for verbose in (False, True):
        with python_call(verbose) as console:
            console.print(f"verbose: {verbose}")
            warning_console().print(f"warning: {verbose}")
    assert capfd.readouterr() == ("verbose: True\n", "warning: True\n")


def test_a_terminal_obeys_no_control_character_of_generated_text(capsys, monkeypatch):
    print_generated("a\x1b[2J\tb\x07\n", end="")
    assert capsys.readouterr().out == "a\x1b[2J\tb\x07\n", "a pipe gets the text as it is"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_generated("a\x1b[2J\tb\x07")
    assert capsys.readouterr().out == "a�[2J\tb�\n"
