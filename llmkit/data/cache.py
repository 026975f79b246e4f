"""A cache of encoded training rows, so that the same inputs are not tokenized in every run.

An entry is a folder with rows.arrow and records.arrow, named by the hash of everything that its
tokens depend on. The cache is in $LLMKIT_CACHE or the user's cache folder, and may be deleted.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import tokenizers
from datasets import Dataset
from filelock import FileLock, Timeout
from pyarrow import ArrowInvalid
from transformers import PreTrainedTokenizerBase

from llmkit.data.duplicate_filter import version_of
from llmkit.data.encode import EncodingOptions, encode_rows, load_encoded
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.rows import Rows
from llmkit.errors import UserError
from llmkit.paths import PACKAGE, cache_folder

PARTIAL = "partial-"  # prefix of a folder whose rows are being encoded; the key follows
SECONDS_BEFORE_NOTICE = 2.0  # wait for another process this long before printing a notice
# The sources that decide which tokens a row gives; an edit of any of them makes a new key.
TOKEN_SOURCES = (
    "constants.py", "data/blocks.py", "data/column_mapping.py", "data/columns.py",
    "data/digest_set.py", "data/duplicate_filter.py", "data/duplicates.py", "data/encode.py",
    "data/held_out.py", "data/prepared_text.py", "data/row_records.py", "data/rows.py",
    "data/shapes.py", "data/sources.py", "data/splits.py", "data/text_records.py",
    "io/arrow_rows.py", "io/delimited.py", "io/hub.py", "io/indexed_tokens.py",
    "io/json_rows.py", "io/row_files.py", "io/small_json.py", "io/text_lines.py",
    "metrics/labels.py", "paths.py", "tasks/*.py",
)  # fmt: skip


def encode_cached(
    rows: Rows,
    tokenizer: PreTrainedTokenizerBase,
    options: EncodingOptions,
    say: Callable[[str], None] = print,
    held_out: Sequence[Rows] = (),
) -> tuple[Dataset, EncodingReport, bool]:
    """The result of `encode_rows`, and whether it came from the cache.

    If several processes need the same rows, one encodes them while the others wait.

    Args:
        say: Called with a message if this process has to wait.
        held_out: Other splits, whose duplicates are removed if the options say so.
    """
    key = encoding_key(rows, tokenizer, options, held_out)
    folder = cache_folder() / "encoded" / key
    is_there = folder.is_dir()
    if not is_there:
        make_folders(folder.parent, cache_folder() / "locks")
        with exclusive(key, say):
            _remove_leftovers(folder.parent, key)
            if not folder.is_dir():  # another process may have created it in the meantime
                _encode_into(folder, rows, tokenizer, options, held_out)
    try:
        return *load_encoded(folder), is_there
    except (OSError, ArrowInvalid):
        raise UserError(f"{folder}: these cached rows are damaged; delete the folder") from None


def _encode_into(
    folder: Path,
    rows: Rows,
    tokenizer: PreTrainedTokenizerBase,
    options: EncodingOptions,
    held_out: Sequence[Rows],
) -> None:
    staging = folder.parent / f"{PARTIAL}{folder.name}-{uuid4().hex}"
    staging.mkdir(0o755)
    try:
        read = rows.read_all() if rows.skips_unreadable else rows
        others = chain.from_iterable(held_out)
        _, encoding_report = encode_rows(read, rows.task, tokenizer, options, staging, others)
        encoding_report.require_supervised(options.max_length, options.truncate_completion)
        _publish(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def exclusive(key: str, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes on this machine from encoding the same rows at the same time.

    key: Name of the rows; `cache_folder() / "locks"` has to exist.

    The operating system releases the lock of a process that has died.
    """
    lock = FileLock(_lock_path(key))
    try:
        try:
            lock.acquire(timeout=SECONDS_BEFORE_NOTICE)
        except Timeout:
            say("rows    another process is encoding the same rows; waiting for it")
            lock.acquire()
    except NotImplementedError:  # a file system without locks: each process encodes its own copy
        pass
    try:
        yield
    finally:
        lock.release()


def _remove_leftovers(parent: Path, own_key: str) -> None:
    """Delete the partial folders of killed processes: those whose lock no other process holds.

    own_key: the key whose lock this process holds.
    """
    for partial in parent.glob(f"{PARTIAL}*"):
        key = partial.name.removeprefix(PARTIAL).partition("-")[0]
        try:
            with nullcontext() if key == own_key else FileLock(_lock_path(key), timeout=0):
                shutil.rmtree(partial, ignore_errors=True)
        except (Timeout, OSError, NotImplementedError):
            continue


def _lock_path(key: str) -> Path:
    return cache_folder() / "locks" / f"{key}.lock"


def _publish(staging: Path, folder: Path) -> None:
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process has published the same rows
            raise


def make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"{folder}: cannot store encoded rows there ({error.strerror}); set LLMKIT_CACHE "
                "to a folder that can be written"
            ) from None


def encoding_key(
    rows: Rows,
    tokenizer: PreTrainedTokenizerBase,
    options: EncodingOptions,
    held_out: Sequence[Rows] = (),
) -> str:
    """The key of encoded rows. held_out: Other splits, which count if duplicates are removed."""
    kind, removed = options.remove_duplicates, []
    if kind is not None:
        removed = [version_of(kind), *map(identity_of, held_out)]
    return key_of(rows, tokenizer, options=asdict(options), removed=removed)


def key_of(rows: Rows, tokenizer: PreTrainedTokenizerBase, **more: Any) -> str:
    """sha256 of everything that the tokens depend on: the rows, the tokenizer, and `more`."""
    parts = {
        **identity_of(rows),
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "end of text": tokenizer.eos_token_id,
        "tokenizers": tokenizers.__version__,
        **more,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def identity_of(rows: Rows) -> dict[str, Any]:
    """Everything that the texts of rows depend on: the content of the data, its columns, the task
    with its template, and the code that reads and encodes."""
    return {
        "data": rows.identity(),
        "source": rows.source.name,  # rows are named by it
        "columns": dict(rows.columns),
        "shape": str(rows.shape),
        "skips": rows.skips_unreadable,
        "limit": rows.limit,
        "task": rows.task.name,
        "template": rows.task.template,
        "code": code_version(),
    }


def code_version(sources: Iterable[str] = TOKEN_SOURCES) -> str:
    """sha256 of the sources that decide which tokens a row gives."""
    digest = hashlib.sha256()
    for pattern in sources:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
