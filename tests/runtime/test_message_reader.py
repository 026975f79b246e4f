"""Messages of one or several lines, from a pipe or typed in a terminal."""

import io
import os
import signal
import sys

import pytest

from llmkit.errors import UserError
from llmkit.runtime.message_reader import Message, MessageReader, is_valid_unicode
from llmkit.runtime.signals import Interrupts


@pytest.fixture
def piped(monkeypatch):
    """Read the messages of a pipe with these bytes."""

    def read(content: bytes) -> list[Message]:
        stream = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stream)
        return list(MessageReader(Interrupts()))

    return read


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"one\ntwo", ["one", "two"]),
        (b"one\r\n\n two \n", ["one", "", " two "]),
        (b"one\\\ntwo\\\nthree\nfour\n", ["one\ntwo\nthree", "four"]),
        (b"one\\", ["one\n"]),
        (b'"""one\n\n/two\\\n"""\nthree\n', ["one\n\n/two\\", "three"]),
        (b'"""\none\ntwo"""\n', ["one\ntwo"]),
        (b'  """one"""\n', ["one"]),
        (b'""""""\nx', ["", "x"]),
        (b'"""one\ntwo', ["one\ntwo"]),
        ("船 👩🏽‍🌾\n".encode(), ["船 👩🏽‍🌾"]),
        ("\ufeffone\n\ufefftwo\n".encode(), ["one", "\ufefftwo"]),
    ],
)
def test_messages_of_a_pipe(piped, content, expected):
    assert [message.text for message in piped(content)] == expected


def test_messages_of_a_pipe_name_their_first_line(piped):
    messages = piped(b'one\n"""a\nb"""\nx\\\ny\n/quit\n')
    assert [message.where for message in messages] == ["line 1", "line 2", "line 4", "line 6"]


@pytest.mark.parametrize(
    ("content", "is_command"),
    [(b"/save x", True), (b" /save x", False), (b"/a\\\nb", False), (b'"""/save x"""', False),
     (b"a /save x", False)],
)  # fmt: skip
def test_a_command_is_a_single_line_that_begins_with_a_slash(piped, content, is_command):
    (message,) = piped(content)
    assert message.is_command == is_command


def test_invalid_utf8_is_detected(piped):
    first, second = piped(b"caf\xe9\nna\xc3\xafve\n")
    assert not is_valid_unicode(first.text)
    assert is_valid_unicode(second.text)


class Typist(io.StringIO):
    """Simulates a person at a terminal who types lines or Ctrl-C."""

    def __init__(self, *events) -> None:
        super().__init__()
        self.events = iter(events)

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        event = next(self.events, "")
        if event is KeyboardInterrupt:
            raise KeyboardInterrupt
        return event


def test_a_pasted_text_that_begins_with_a_slash_is_no_command(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Typist("/usr/bin\nand /bin\n", "/help\n"))
    messages = list(MessageReader(Interrupts()))
    assert [message.is_command for message in messages] == [False, True]


@pytest.mark.parametrize(
    ("events", "expected", "is_stopped"),
    [
        (["a\n", KeyboardInterrupt, "b\n"], ["a", "b"], False),
        ([KeyboardInterrupt, "a\n", KeyboardInterrupt, "b\n"], ["a", "b"], False),
        (["a\\\n", KeyboardInterrupt, "b\n"], ["b"], False),
        (["a\n", KeyboardInterrupt, KeyboardInterrupt, "b\n"], ["a"], True),
    ],
)
def test_ctrl_c_discards_the_input_and_a_second_one_stops(
    monkeypatch, capsys, events, expected, is_stopped
):
    monkeypatch.setattr(sys, "stdin", Typist(*events))
    read = []
    try:
        for message in MessageReader(Interrupts()):
            read.append(message.text)
    except KeyboardInterrupt:
        assert is_stopped
    else:
        assert not is_stopped
    assert read == expected
    shown = capsys.readouterr()
    assert shown.out == "", "the marker is no part of the answers"
    assert "press Ctrl-C again or type /quit to end the chat" in shown.err


def test_ctrl_c_between_messages_does_not_end_the_input(monkeypatch):
    """Between the end of an answer and the next prompt, it comes too late to stop anything."""
    monkeypatch.setattr(sys, "stdin", Typist("a\n", "b\n"))
    interrupts, read = Interrupts(), []
    with interrupts.handled():
        for message in MessageReader(interrupts):
            assert not interrupts.was_pressed
            read.append(message.text)
            os.kill(os.getpid(), signal.SIGINT)
    assert read == ["a", "b"]


def test_ctrl_c_stops_a_pipe_immediately(monkeypatch):
    typist = Typist("a\n", KeyboardInterrupt, "b\n")
    monkeypatch.setattr(typist, "isatty", lambda: False)
    monkeypatch.setattr(sys, "stdin", typist)
    with pytest.raises(KeyboardInterrupt):
        list(MessageReader(Interrupts()))


def test_a_closed_standard_input_is_rejected(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        MessageReader(Interrupts())
