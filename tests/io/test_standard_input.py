"""Lines of standard input: decoded, numbered, and yielded as soon as they arrive."""

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


def test_the_number_of_lines_per_list_is_limited():
    assert [len(lines) for lines in lines_of(b"x\n" * 7, max_lines=3)] == [3, 3, 1]


def test_invalid_utf_8_and_nul_are_reported_by_line():
    ((_, good, _), (_, _, bad), (_, _, nul)) = lines_of(b"\xef\xbb\xbfgood\nGr\xf6\xdfe\na\0\n")[0]
    assert good == "good"
    assert str(bad).startswith("standard input:2: byte 3 is not UTF-8; ")
    assert "data.encoding=cp1252 this reads 'Größe'" in str(bad)
    assert str(nul).startswith("standard input:3: byte 2 is NUL")


def test_another_encoding_is_accepted_unless_its_line_breaks_are_ambiguous():
    assert lines_of("Größe\n".encode("cp1252"), encoding="cp1252") == [[(1, "Größe", None)]]
    with pytest.raises(UserError, match="standard input cannot be read as utf-16"):
        lines_of(b"a\n", encoding="utf-16")


def test_a_line_that_is_too_long_is_rejected(monkeypatch):
    monkeypatch.setattr(standard_input, "MAX_LINE_BYTES", 10)
    with pytest.raises(UserError, match="standard input: a line of more than"):
        lines_of(*[b"abc"] * 5)
