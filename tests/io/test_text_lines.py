"""Lines of text files: encodings, and limits on what is held in memory."""

import lzma

import pytest
from written_files import COMPRESS, ROWS, all_rows, excel

from llmkit.config.schema import Data
from llmkit.errors import UserError
from llmkit.io import text_lines
from llmkit.io.row_files import read


def test_a_named_encoding_is_read_and_an_unknown_one_refused(tmp_path):
    path = tmp_path / "excel.csv"
    excel(ROWS, path, ";", "cp1252")
    assert all_rows(path, encoding="cp1252") == ROWS
    excel(ROWS, path, ";", "utf-16-le")
    assert all_rows(path, encoding="utf-16-le") == ROWS
    excel(ROWS, path, ";", "utf-8")
    assert all_rows(path, encoding="utf-8-sig") == ROWS  # the mark may be missing
    for name in ("utf-16-le", "cp1252", "latin-1"):
        with pytest.raises(UserError, match=rf"UTF-8, not {name} as data\.encoding says"):
            all_rows(path, encoding=name)
    assert all_rows(path, encoding="utf-8-sig") == ROWS
    for name in ("klingon", "rot13"):
        with pytest.raises(ValueError, match="not a text encoding"):
            Data(train=str(path), encoding=name)


@pytest.mark.parametrize("suffix", [suffix for suffix in COMPRESS if suffix])
def test_endless_lines_and_texts_are_not_held_in_memory(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(text_lines, "MAX_LINE_BYTES", 2**16)
    monkeypatch.setattr(text_lines, "MAX_TEXT_CHARACTERS", 2**18)
    long, many = b"a" * 2**20, b"a\n" * 2**18
    for name, content, said in [
        ("rows.jsonl", long, "a line of more than"),
        ("rows.json", many, "which has to fit in memory"),
        ("rows.csv", b'text,n\n"' + long, "a line of more than"),
    ]:
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(COMPRESS[suffix](content))
        with pytest.raises(UserError, match=said):
            list(read(path))


def test_an_xz_file_that_needs_too_much_memory_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**28}]
    path.write_bytes(lzma.compress(b'{"text": "a"}\n', filters=filters))
    with pytest.raises(UserError, match=r"not readable as xz after line 0 \(Memory usage limit"):
        list(read(path))
