"""Folders and files that are complete or absent."""

import errno
import json
import os

import pytest

from llmkit.errors import UserError
from llmkit.io import atomic
from llmkit.io.atomic import (
    MANIFEST,
    CorruptFolder,
    check_replaceable,
    make_folder,
    read_own_json,
    remove_folder,
    verify,
    write_folder,
    write_text,
)


def fill(**files):
    return lambda folder: [(folder / name).write_text(text) for name, text in files.items()]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    write_folder(tmp_path / "a", fill(one="1", two="2"))
    write_folder(tmp_path / "a", fill(two="22"))
    verify(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [MANIFEST, "two"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("reason", [OSError("disk full"), KeyboardInterrupt()])
def test_a_folder_whose_writing_fails_leaves_the_old_one(tmp_path, reason):
    def fail(folder):
        (folder / "half").write_text("h")
        raise reason

    write_folder(tmp_path / "a", fill(one="1"))
    with pytest.raises(type(reason)):
        write_folder(tmp_path / "a", fail)
    verify(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "one").write_text("2"), "one has changed since it was written"),
        (lambda folder: (folder / "one").write_text("12"), "one has 2 bytes, expected 1 bytes"),
        (lambda folder: (folder / "one").unlink(), "one is missing"),
        (lambda folder: (folder / "more").touch(), "more does not belong there"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "manifest.json is not a JSON object"),
        (lambda folder: (folder / MANIFEST).write_text("{}"), "manifest.json lists no files"),
    ],
)
def test_a_folder_that_is_not_as_written_is_refused_with_a_reason(tmp_path, spoil, reason):
    folder = tmp_path / "a"
    write_folder(folder, fill(one="1"))
    spoil(folder)
    with pytest.raises(CorruptFolder, match=reason):
        verify(folder)


def test_a_folder_is_replaced_only_by_the_command_that_wrote_it(tmp_path):
    folder = tmp_path / "a"
    for is_own in (True, False):
        check_replaceable(folder, lambda path, own=is_own: own, is_forced=False)
    folder.mkdir()
    check_replaceable(folder, lambda path: True, is_forced=True)
    with pytest.raises(UserError, match="exists already; add --force"):
        check_replaceable(folder, lambda path: True, is_forced=False)
    with pytest.raises(UserError, match="did not write it; move it away"):
        check_replaceable(folder, lambda path: False, is_forced=True)
    for target in (folder, "nowhere"):
        link = tmp_path / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(UserError, match="link: is a symbolic link"):
            check_replaceable(link, lambda path: True, is_forced=True)


def test_a_folder_is_deleted_with_what_a_killed_process_left(tmp_path):
    for name in ("a", "a.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_read(tmp_path):
    (tmp_path / "real.json").write_text(json.dumps({}))
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert read_own_json(tmp_path / "real.json") == {}
    with pytest.raises(CorruptFolder, match="is a link"):
        read_own_json(tmp_path / "link.json")


def test_a_text_file_is_replaced_without_leftovers(tmp_path):
    make_folder(tmp_path / "a" / "b")
    for text in ("one", "two"):
        write_text(tmp_path / "a" / "b" / "file", text)
    assert [path.read_text() for path in (tmp_path / "a" / "b").iterdir()] == ["two"]


def test_a_full_disk_keeps_the_old_text_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")
    monkeypatch.setattr(atomic, "sync", disk_is_full)
    with pytest.raises(OSError, match="No space left") as full:
        write_text(path, "new")
    assert full.value.filename == str(path)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"file": "old"}


def disk_is_full(path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
