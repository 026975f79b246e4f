"""Folders and files that are complete or absent: written under another name, synced, renamed."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from llmkit.errors import UserError, printable
from llmkit.io import small_json
from llmkit.io.small_json import UnreadableJson
from llmkit.paths import sha256

MANIFEST = "manifest.json"


class CorruptFolder(Exception):
    """A folder is damaged; the message is one line that any terminal can show."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason))


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Create a folder that `write` fills, completely or not at all; an existing one is replaced.

    A process killed at any moment leaves the old folder or the new one, under its own name or,
    between two renames, under the name from which `recover` restores it.
    """
    staging, replaced = sibling(folder, "partial"), sibling(folder, "replaced")
    recover(folder)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        write(staging)
        write_manifest(staging)
        sync(staging)
        if folder.is_dir():
            folder.rename(replaced)
        staging.rename(folder)
        sync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:  # such as a full disk or a stop request
        recover(folder)
        shutil.rmtree(staging, ignore_errors=True)
        raise


def recover(folder: Path) -> None:
    """Rename a folder back if its replacement was interrupted between two renames."""
    replaced = sibling(folder, "replaced")
    if replaced.is_dir():
        if folder.is_dir():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):  # another process was quicker
                replaced.rename(folder)


def check_replaceable(folder: Path, is_own: Callable[[Path], bool], *, is_forced: bool) -> None:
    """Raise UserError if the folder exists, unless the command wrote it (`is_own`) and may replace
    it."""
    if folder.is_symlink():
        raise UserError(f"{folder}: is a symbolic link, not a folder of this command; remove it")
    recover(folder)
    if not folder.exists():
        return
    if not is_own(folder):
        raise UserError(f"{folder}: exists, but this command did not write it; move it away")
    if not is_forced:
        raise UserError(f"{folder}: exists already; add --force to replace it")


def remove_folder(folder: Path) -> None:
    """Delete a folder if it exists. A process killed at any moment leaves the whole folder, or none
    of this name."""
    partial = sibling(folder, "partial")
    shutil.rmtree(partial, ignore_errors=True)
    if folder.exists():
        folder.rename(partial)
        shutil.rmtree(partial)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents so that they survive a loss of power."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def sibling(folder: Path, word: str) -> Path:
    return folder.with_name(f"{folder.name}.{word}")


def write_manifest(folder: Path) -> None:
    """Sync the folder's files and record the size and sha256 of each in its manifest."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST:
            continue
        sync(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=2) + "\n", "utf-8")
    sync(manifest)


def verify(folder: Path) -> None:
    """Raise CorruptFolder unless the folder holds exactly the files of its manifest, byte by
    byte."""
    files = read_own_json(folder / MANIFEST).get("files")
    if not isinstance(files, dict) or not all(isinstance(each, dict) for each in files.values()):
        raise CorruptFolder(f"{MANIFEST} lists no files")
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    for name in sorted(files.keys() ^ there):
        raise CorruptFolder(
            f"{name} is missing" if name in files else f"{name} does not belong there"
        )
    for name, expected in files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise CorruptFolder(f"{name} is not a regular file")
        if path.stat().st_size != expected.get("bytes"):
            raise CorruptFolder(
                f"{name} has {path.stat().st_size:,} bytes, expected {expected.get('bytes')} bytes"
            )
        if sha256(path) != expected.get("sha256"):
            raise CorruptFolder(f"{name} has changed since it was written (its sha256 differs)")


def write_text(path: Path, text: str) -> None:
    """Write a text file under another name, then rename it: no reader sees half of it."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, "utf-8")
        sync(partial)
        partial.replace(path)
    except BaseException as error:  # such as a full disk or a stop request
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        with suppress(OSError):
            partial.unlink()
        raise
    sync(path.parent)


class HashedFile:
    """A new file whose size and sha256 are known once it is complete."""

    def __init__(self, path: Path) -> None:
        self.path, self.num_bytes = path, 0
        self.file, self.digest = path.open("wb"), hashlib.sha256()

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.digest.update(content)
        self.num_bytes += len(content)

    def close(self) -> dict[str, Any]:
        """Sync the file; returns its entry in a manifest."""
        with self.file:
            self.file.flush()
            os.fsync(self.file.fileno())
        return {"bytes": self.num_bytes, "sha256": self.digest.hexdigest()}


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_room(folder: Path, num_bytes: int) -> None:
    """Raise OSError if the disk has less free space than that."""
    if shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_own_json(path: Path) -> dict[str, Any]:
    """A small JSON object in a folder that llmkit wrote; CorruptFolder for anything else."""
    if path.is_symlink():
        raise CorruptFolder(f"{path.name} is a link")
    try:
        return small_json.read_json(path)
    except UnreadableJson as error:
        raise CorruptFolder(str(error)) from None


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of safetensors or NumPy about a full disk into the OSError of the system, and
    name the path in any OSError that does not name one."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise OSError(errno.EIO, str(error), str(path)) from None
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    except OSError as error:
        if error.errno is None:  # NumPy gives no reason, such as "64 requested and 0 written"
            raise OSError(errno.ENOSPC, f"cannot be written ({error})", str(path)) from None
        error.filename = error.filename or str(path)
        raise
