"""Cached checksums of large files."""

import os
import time

import pytest

from llmkit.io import known_files
from llmkit.io.known_files import remembered_sha256
from llmkit.paths import sha256


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(known_files, "MIN_BYTES", 4)
    monkeypatch.setattr(known_files, "SETTLED_NANOSECONDS", -(10**12))  # no need to wait
    path = tmp_path / "corpus.txt"
    path.write_text("The ferry left.")
    return path


@pytest.fixture
def read(path, monkeypatch):
    """The files that were read to compute their checksum."""
    read = []
    monkeypatch.setattr(known_files, "sha256", lambda path: read.append(path) or sha256(path))
    return read


def test_a_file_that_has_not_changed_is_read_once(path, read):
    assert remembered_sha256(path) == remembered_sha256(path) == sha256(path)
    assert read == [path]


def overwrite_keeping_size_and_time(path):
    status = path.stat()
    path.write_text("The ferry LEFT.")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_another_file(path):
    status = path.stat()
    other = path.with_name("other.txt")
    other.write_text("The ferry LEFT.")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        overwrite_keeping_size_and_time,
        replace_by_another_file,
        lambda path: path.write_text("The ferry left again."),
    ],
)
def test_a_changed_file_is_read_again(path, read, change):
    before = remembered_sha256(path)
    time.sleep(0.02)  # the clock of the file system ticks
    change(path)
    assert remembered_sha256(path) == sha256(path) != before
    assert len(read) == 2


def test_a_file_that_was_just_written_and_a_small_one_are_always_read(path, read, monkeypatch):
    monkeypatch.setattr(known_files, "SETTLED_NANOSECONDS", 10**15)
    assert remembered_sha256(path) == remembered_sha256(path)
    monkeypatch.setattr(known_files, "SETTLED_NANOSECONDS", -(10**12))
    monkeypatch.setattr(known_files, "MIN_BYTES", 2**20)
    assert remembered_sha256(path) == remembered_sha256(path)
    assert len(read) == 4


def test_without_a_usable_cache_the_file_is_read_every_time(path, read, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMKIT_CACHE", str(path))  # a file
    assert remembered_sha256(path) == remembered_sha256(path) == sha256(path)
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    remembered_sha256(path)
    (record,) = (tmp_path / "cache" / "checksums").iterdir()
    record.write_text('{"state"')
    assert remembered_sha256(path) == sha256(path)
