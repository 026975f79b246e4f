"""Lines of standard input: decoded, numbered, and passed on as soon as they arrive."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import UserError
from llmkit.io import standard_input
from llmkit.io.standard_input import read_lines


def lines_of(*chunks: bytes, encoding=None, max_lines=100):
    return list(read_lines(chunks, encoding, max_lines))


@given(st.lists(st.text(st.characters(exclude_characters="\n\0\ufeff", codec="utf-8"))), st.data())
def test_lines_do_not_depend_on_the_chunks(texts, data):
    content = "".join(f"{text}\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)))))
    bounds = [0, *cuts, len(content)]
    chunks = [content[a:b] for a, b in pairwise(bounds) if a < b]
    lines = [line for lines in lines_of(*chunks, max_lines=3) for line in lines]
    assert lines == [(number, text, None) for number, text in enumerate(texts, 1)]


def test_each_line_is_passed_on_before_the_next_chunk_is_read():
    read = []

    def chunks():
        for chunk in (b"a\nb\nc", b"\nd", b"e\n", b"last"):
            read.append(chunk)
            yield chunk

    lines = read_lines(chunks(), None, 100)
    assert [text for _, text, _ in next(lines)] == ["a", "b"]
    assert len(read) == 1
    assert [text for _, text, _ in next(lines)] == ["c"]
    assert len(read) == 2
    assert [text for _, text, _ in next(lines)] == ["de"]
    assert [text for _, text, _ in next(lines)] == ["last"]


def test_at_most_so_many_lines_come_at_once():
    assert [len(lines) for lines in lines_of(b"x\n" * 7, max_lines=3)] == [3, 3, 1]


def test_bytes_that_are_not_utf_8_and_nul_are_named_by_line():
    ((_, good, _), (_, _, bad), (_, _, nul)) = lines_of(b"\xef\xbb\xbfgood\nGr\xf6\xdfe\na\0\n")[0]
    assert good == "good"
    assert str(bad).startswith("standard input:2: byte 3 is not UTF-8; ")
    assert "data.encoding=cp1252 this reads 'Größe'" in str(bad)
    assert str(nul).startswith("standard input:3: byte 2 is NUL")


def test_another_encoding_is_decoded_unless_its_lines_cannot_be_told_apart():
    assert lines_of("Größe\n".encode("cp1252"), encoding="cp1252") == [[(1, "Größe", None)]]
    with pytest.raises(UserError, match="standard input cannot be utf-16"):
        lines_of(b"a\n", encoding="utf-16")


def test_an_endless_line_is_refused(monkeypatch):
    monkeypatch.setattr(standard_input, "MAX_LINE_BYTES", 10)
    with pytest.raises(UserError, match="standard input: a line of more than"):
        lines_of(*[b"abc"] * 5)
