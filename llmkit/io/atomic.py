"""Folders that are whole or not there: written beside their place, synced, and renamed."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from llmkit.errors import printable
from llmkit.paths import sha256

MANIFEST = "manifest.json"
LARGEST_JSON = 2**20  # bytes of a manifest, or of what else is small


class CorruptFolder(Exception):
    """What is wrong with a folder, in a few words, and a line that any terminal can show."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason))


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill the folder, all of it or nothing; one that is there is replaced.

    Killed at any moment, it leaves the old folder or the new one, under its own name or, between
    two renames, under the one that `recover` knows.
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
    except OSError:
        recover(folder)
        shutil.rmtree(staging, ignore_errors=True)  # a full disk has its room back
        raise
    sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def recover(folder: Path) -> None:
    """Give a folder its name back where its replacement was cut short between two renames."""
    replaced = sibling(folder, "replaced")
    if replaced.is_dir():
        if folder.is_dir():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):  # another process was quicker
                replaced.rename(folder)


def make_folder(folder: Path) -> None:
    """Make a folder, and those it stands in, whose names outlive a loss of power."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def sibling(folder: Path, word: str) -> Path:
    return folder.with_name(f"{folder.name}.{word}")


def write_manifest(folder: Path) -> None:
    """Sync the folder's files and write down what they are."""
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
    """Raise CorruptFolder unless every file is as the manifest says, byte by byte."""
    files = read_json(folder / MANIFEST).get("files")
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
            raise CorruptFolder(f"{name} is no plain file")
        if path.stat().st_size != expected.get("bytes"):
            raise CorruptFolder(
                f"{name} has {path.stat().st_size:,} bytes, not as many as were written"
            )
        if sha256(path) != expected.get("sha256"):
            raise CorruptFolder(f"{name} is not what was written (its sha256 differs)")


def write_text(path: Path, text: str) -> None:
    """Written beside its place and renamed, so that a reader never sees half a file."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, "utf-8")
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's names, to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_room(folder: Path, num_bytes: int) -> None:
    """Raise OSError where the disk has less room than that."""
    if shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; CorruptFolder for anything else."""
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise CorruptFolder(f"{path.name} is no plain file")
        if path.stat().st_size > LARGEST_JSON:
            raise CorruptFolder(f"{path.name} is too large")
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CorruptFolder(f"{path.name} is missing") from None
    except (ValueError, RecursionError):
        raise CorruptFolder(f"{path.name} is no JSON") from None
    if not isinstance(content, dict):
        raise CorruptFolder(f"{path.name} is no JSON object")
    return content


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full disk is an OSError, whichever library met it."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(folder)) from None
