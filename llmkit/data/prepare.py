"""Tokenize the documents of plain language modelling once, into shards on disk.

One thread reads rows and assigns them to splits, a second one tokenizes on all cores (the
tokenizers library releases the GIL), and the calling thread writes. Only a few chunks of text are
in memory at a time. The format of the folder is described in data/prepared_text.py.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmkit.data.cache import code_version, exclusive, key_of, make_folders
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.prepared_text import (
    FORMAT,
    TOKENIZER,
    UNFINISHED,
    HeldOutText,
    PreparedSource,
    PreparedText,
    is_prepared,
    is_unfinished,
    open_prepared,
    tokenizer_hash,
)
from llmkit.data.rows import Rows
from llmkit.data.text_chunks import Chunk, read_chunks, tokenize
from llmkit.data.text_records import TextRecords
from llmkit.data.text_shards import (
    PartWriter,
    finished_parts,
    join_held_out,
    part_name,
    remove,
    remove_own,
)
from llmkit.data.unique_texts import (
    HELD_OUT_DIGESTS,
    Removal,
    open_filter,
    without_duplicates,
)
from llmkit.errors import UserError
from llmkit.io.atomic import (
    MANIFEST,
    CorruptFolder,
    HashedFile,
    make_folder,
    read_json,
    sync,
    write_text,
)
from llmkit.io.indexed_tokens import token_type
from llmkit.paths import cache_folder
from llmkit.runtime.read_ahead import read_ahead
from llmkit.tasks import Task

CHUNKS_AHEAD = 2
ELSEWHERE = "name another folder, or delete this one"
# The content of a folder depends on these sources and on cache.TOKEN_SOURCES.
SHARD_SOURCES = (
    "data/prepare.py", "data/text_chunks.py", "data/text_shards.py", "data/unique_texts.py",
)  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """Amounts prepared so far by this process."""

    num_documents: int = 0
    num_bytes: int = 0
    """Bytes of text."""
    num_tokens: int = 0
    num_kept_bytes: int = 0
    """Bytes of text that an earlier run had prepared; not included in the other counts."""

    def after(self, chunk: Chunk, encodings: list[Any]) -> "Progress":
        """The progress after a further chunk."""
        return Progress(
            self.num_documents + len(chunk.documents),
            self.num_bytes + sum(document.num_bytes for document in chunk.documents),
            self.num_tokens + sum(len(encoding) + 1 for encoding in encodings),
            self.num_kept_bytes,
        )


Show = Callable[[Progress], None]
OpenProgress = Callable[[], AbstractContextManager[Show]]


def is_preparable(task: Task, *, packing: bool) -> bool:
    """Whether the training rows of a task are joined into one stream of tokens."""
    return task.output == "text" and not packing


def prepare(
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path | None = None,
    say: Callable[[str], None] = print,
    open_progress: OpenProgress = lambda: nullcontext(lambda progress: None),
    removal: Removal | None = None,
) -> tuple[PreparedText, bool]:
    """Prepare the documents of a recipe.

    Returns the prepared text and whether it was already there. If several processes need the same
    text, one prepares it while the others wait.

    Args:
        splits: The splits. Held-out splits that are taken from the training rows are prepared in
            the same pass.
        tokenizer: The tokenizer.
        folder: Output folder; None: a folder in the cache.
        say: Called with a message if this process has to wait.
        open_progress: Called if there is something to prepare; returns a context manager for a
            function that is called with the progress after each chunk.
        removal: Duplicates to remove from the training documents. Documents that repeat a held-out
            document of `splits` are removed as well. None: keep all.

    Raises:
        UserError: A row cannot be read, no document is left, or the folder has other contents.
    """
    source = splits["train"].source
    if isinstance(source, PreparedSource):
        require_tokenizer(source.prepared, tokenizer)
        require_removal(source.prepared, removal)
        return source.prepared, True
    held_out = {split: rows for split, rows in splits.items() if is_held_out(rows, splits["train"])}
    read = {"train": splits["train"], **held_out}
    if removal is not None:
        others = [rows for rows in removal.held_out if not is_held_out(rows, splits["train"])]
        removal = replace(removal, held_out=others)
    key = shards_key(read, tokenizer, removal)
    in_cache = cache_folder() / "shards" / key
    parents = [in_cache.parent] if folder is None else []  # of another folder, `_claim` creates it
    folder = folder or in_cache
    was_there = is_prepared(folder) and not is_unfinished(folder)
    if not was_there:
        make_folders(*parents, cache_folder() / "locks")
        name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()
        with exclusive(name, say):
            if not is_prepared(folder):  # another process may have prepared it in the meantime
                _prepare_into(folder, key, read, tokenizer, open_progress, removal)
            elif is_unfinished(folder):
                _complete(folder)
    prepared = open_prepared(folder)
    if prepared.key != key:
        raise UserError(
            f"{folder}: contains other text, or text prepared with other settings; {ELSEWHERE}"
        )
    return prepared, was_there


def require_tokenizer(prepared: PreparedText, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise UserError if the text was prepared with another tokenizer."""
    if prepared.manifest["tokenizer_sha256"] != tokenizer_hash(tokenizer):
        raise UserError(
            f"{prepared.folder}: prepared with the tokenizer of another model; use that model, "
            "or prepare the text for this model in another folder"
        )


def require_removal(prepared: PreparedText, removal: Removal | None) -> None:
    """Raise UserError if the text was prepared without removing the requested duplicates."""
    done, asked = prepared.manifest.get("remove_duplicates"), removal and removal.kind
    if asked not in (None, done):
        raise UserError(
            f"data.remove_duplicates: {prepared.folder} is prepared text, from which duplicates "
            f"were not removed as {asked}; set data.remove_duplicates=null, or prepare the text "
            "again with this setting"
        )


def is_held_out(rows: Rows, train: Rows) -> bool:
    """Whether a split is taken from the training rows."""
    return rows.split != "train" and rows.assignment is not None and rows.source == train.source


def shards_key(
    splits: dict[str, Rows], tokenizer: PreTrainedTokenizerBase, removal: Removal | None = None
) -> str:
    """SHA-256 of everything that the content of the folder depends on."""
    return key_of(
        splits["train"],
        tokenizer,
        shards=code_version(SHARD_SOURCES),
        held_out={split: list(rows.by) for split, rows in splits.items()},
        removed=removal.identity() if removal else [],
    )


def with_held_out(splits: dict[str, Rows], prepared: PreparedText) -> dict[str, Rows]:
    """The splits, where held-out splits that are in the folder are read from it."""
    return {
        split: _read_from(prepared, rows) if is_held_out(rows, splits["train"]) else rows
        for split, rows in splits.items()
    }


def _read_from(prepared: PreparedText, rows: Rows) -> Rows:
    split = rows.split
    source = HeldOutText(rows.source.name, prepared, split)
    assignment = replace(rows.assignment, split_of=lambda index, row: split)
    return replace(rows, source=source, assignment=assignment, columns={}, shape=None, limit=None)


def _prepare_into(
    folder: Path,
    key: str,
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    open_progress: OpenProgress,
    removal: Removal | None,
) -> None:
    _claim(folder, key)
    try:
        with open_progress() as show:
            parts = _write_parts(folder, splits, tokenizer, show, removal)
        _finish(folder, key, parts, splits, tokenizer, removal)
    except UserError:  # an unreadable row or a lost connection
        if not finished_parts(folder):
            remove([folder / name for name in (UNFINISHED, TOKENIZER, HELD_OUT_DIGESTS)])
            with suppress(OSError):  # another program's file
                folder.rmdir()
        raise
    except OSError as error:
        error.filename = error.filename or str(folder)
        error.advice = "; run the command again to continue after the last finished shard"
        raise


def _claim(folder: Path, key: str) -> None:
    """Mark the folder as unfinished; raises UserError if it has other contents."""
    make_folder(folder)
    if is_unfinished(folder):
        try:
            is_own = read_json(folder / UNFINISHED).get("key") == key
        except CorruptFolder:
            is_own = False
        if not is_own:
            raise UserError(
                f"{folder}: contains the unfinished preparation of other text; {ELSEWHERE}"
            )
        return
    names = {path.name for path in folder.iterdir()} - {f"{UNFINISHED}.partial"}
    if names:
        raise UserError(f"{folder}: not an empty folder; name an empty or a new one")
    write_text(folder / UNFINISHED, json.dumps({"format": FORMAT, "key": key}))


def _write_parts(
    folder: Path,
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    show: Show,
    removal: Removal | None,
) -> list[dict[str, Any]]:
    """Write the parts after the finished ones; returns the records of all parts."""
    parts = finished_parts(folder)
    progress = Progress(num_kept_bytes=sum(part["bytes"] for part in parts))
    part: PartWriter | None = None
    try:
        with closing(_encoded_chunks(folder, parts, splits, tokenizer, removal)) as chunks:
            for chunk, encodings in chunks:
                part = part or _begin_part(folder, parts, splits, tokenizer, removal)
                part.add_chunk(chunk, [encoding.ids for encoding in encodings])
                progress = progress.after(chunk, encodings)
                show(progress)
                if chunk.ends_part:
                    parts.append(part.publish())
                    part = None
        if part is None and not parts:  # a folder has at least one part
            part = _begin_part(folder, parts, splits, tokenizer, removal)
        if part is not None:
            parts.append(part.publish())
    except BaseException:
        if part is not None:
            part.abandon()
        raise
    return parts


def _encoded_chunks(
    folder: Path,
    finished: list[dict[str, Any]],
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    removal: Removal | None,
) -> Iterator[tuple[Chunk, list[Any]]]:
    """Read and tokenize, in threads, the chunks after the finished parts."""
    chunks = read_ahead(read_chunks(splits, _next_row(finished)), CHUNKS_AHEAD)
    if removal is not None:
        kept = open_filter(folder, len(finished), splits, removal)
        chunks = read_ahead(without_duplicates(chunks, kept, removal.kind), 1)
    return read_ahead(tokenize(chunks, tokenizer), 1)


def _begin_part(
    folder: Path,
    earlier: list[dict[str, Any]],
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    removal: Removal | None,
) -> PartWriter:
    """The writer of the part after `earlier`."""
    return PartWriter(
        folder,
        len(earlier),
        _next_row(earlier),
        [split for split in splits if split != "train"],
        token_type(len(tokenizer)),
        tokenizer.eos_token_id,
        None if removal is None else [],
    )


def _next_row(parts: list[dict[str, Any]]) -> int:
    """Index in the source of the first row after some parts."""
    return parts[-1]["rows"][1] if parts else 0


def _finish(
    folder: Path,
    key: str,
    parts: list[dict[str, Any]],
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    removal: Removal | None,
) -> None:
    """Join the held-out documents, and write the manifest, which completes the folder."""
    shards = [part_name("train", number) for number in range(len(parts))]
    records = TextRecords([folder / f"{shard}.arrow" for shard in shards])
    if not len(records):
        raise UserError(f"{splits['train'].source.name}: no row is left to train on; add rows")
    EncodingReport(records).require_supervised(0, truncate_completion=True)
    saved = HashedFile(folder / TOKENIZER)
    saved.write(tokenizer.backend_tokenizer.to_str().encode())
    files = {TOKENIZER: saved.close()}
    for part in parts:
        files |= {name: file for name, file in part["files"].items() if name.startswith("train-")}
    for split in (name for name in splits if name != "train"):
        files |= join_held_out(folder, split, len(parts), token_type(len(tokenizer)))
    manifest = _manifest(key, shards, parts, splits, tokenizer, removal) | {"files": files}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    _complete(folder)


def _manifest(
    key: str,
    shards: list[str],
    parts: list[dict[str, Any]],
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    removal: Removal | None,
) -> dict[str, Any]:
    """The manifest without its files."""
    train = splits["train"]
    held_out = {
        split: {
            name: sum(part["splits"][split][name] for part in parts)
            for name in ("documents", "tokens")
        }
        for split in splits
        if split != "train"
    }
    return {
        "format": FORMAT,
        "key": key,
        "source": train.source.name,
        "tokenizer_sha256": tokenizer_hash(tokenizer),
        "vocab_size": len(tokenizer),
        "end_of_text": tokenizer.eos_token_id,
        "dtype": token_type(len(tokenizer)).name,
        "text_bytes": sum(part["bytes"] for part in parts),
        "remove_duplicates": removal and removal.kind,
        "rows_in_quotes": train.rows_in_quotes(),
        "shards": [
            {"name": shard, **part["splits"]["train"], "rows": part["rows"]}
            for shard, part in zip(shards, parts, strict=True)
        ],
        "held_out": held_out,
    }


def _complete(folder: Path) -> None:
    """Delete the files of an unfinished preparation, and last the mark that it is unfinished."""
    remove_own(folder, {*read_json(folder / MANIFEST)["files"]})
    remove([folder / HELD_OUT_DIGESTS])
    sync(folder)
    remove([folder / UNFINISHED])
