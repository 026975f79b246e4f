"""Paths as users type them, and the folders that llmkit knows."""

import errno
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from llmkit.errors import UserError, printable

PACKAGE = Path(__file__).parent
RUNS = Path("runs")
# Extensions of files that hold rows; text may also be compressed.
TEXT_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
BINARY_FORMATS = (".parquet", ".arrow", ".feather")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
LONGEST_SUFFIX = ".partial.json"  # of the files next to one that is being written
LONGEST_INSIDE = "x" * 100  # for the longest path inside a run or a folder of scores
LONGEST_SHOWN = 4096  # characters of a path in a message about its length
BROKEN_LINK = "a broken symbolic link"


def cache_folder() -> Path:
    """The folder of encoded rows and measurements."""
    given = os.environ.get("LLMKIT_CACHE")
    if given:
        return expand(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmkit"


def row_format(path: Path) -> str | None:
    """The format of rows that a file's name ends in, apart from a compression; None if none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        return suffixes[-2] if suffixes[-2:-1] and suffixes[-2] in TEXT_FORMATS else None
    formats = (*TEXT_FORMATS, *BINARY_FORMATS)
    return suffixes[-1] if suffixes and suffixes[-1] in formats else None


def check_output(
    output: str | None, given_by: str = "--output", suffix: str | None = None
) -> Path | None:
    """The file to write; UserError, before any work, when that cannot be.

    suffix: how its name has to end, so that no file of another kind is written over.
    """
    if output is None:
        return None
    if "\0" in output:
        raise UserError(f"{given_by}: {printable(output)}: NUL cannot be part of a file name")
    path = expand(output)
    if suffix and path.suffix.lower() != suffix:
        raise UserError(f"{given_by}: {path}: name a file that ends in {suffix}")
    if path.is_dir():
        raise UserError(f"{given_by}: {path} is a folder; name a file")
    if os.path.lexists(path) and not path.exists():
        raise UserError(f"{given_by}: {path} is {BROKEN_LINK}; remove it, or name another file")
    if not path.parent.is_dir():
        raise UserError(f"{given_by}: there is no folder {path.parent}; make it first")
    check_writable(path.parent, given_by)
    _check_length(path.with_name(f"{path.name}{LONGEST_SUFFIX}"), path.name)
    return path


def check_writable(folder: Path, given_by: str) -> None:
    """Raise UserError if the folder cannot be written to or created."""
    path = folder.absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    for name in path.relative_to(there).parts:  # the system checks no name below a missing folder
        _check_length(there / name, name)
    _check_length(path / LONGEST_INSIDE, str(folder))
    if not os.path.exists(there):
        raise UserError(
            f"{given_by}: {folder}: {there} is {BROKEN_LINK}; remove it, or name another folder"
        )
    if not os.path.isdir(there):
        raise UserError(f"{given_by}: {folder}: {there} is a file; name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{given_by}: {folder}: no permission to write there; name another folder")


def expand(name: str) -> Path:
    """A path as typed, ~ for the home folder; of a user who is not there it stays as it is.

    Raises UserError for a path that is too long for the file system.
    """
    path = Path(os.path.expanduser(name))
    _check_length(path, name)
    return path


def _check_length(path: Path, name: str) -> None:
    """Raise UserError, with the name as the user knows it, for a path that is too long."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(
                f"{printable(name, LONGEST_SHOWN)}: the name is too long for the file system; "
                "shorten it"
            ) from None
    except ValueError:  # NUL or half a character, which `check` refuses
        pass


def total_size(paths: Iterable[Path]) -> int:
    """Bytes of those paths that are files."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def sha256(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
