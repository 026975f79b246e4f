"""Tokenize the documents of plain language modelling once, into a folder on disk: in the cache or
named by the user."""

import hashlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from llmkit.data.cache import code_version, exclusive, key_of, make_folders
from llmkit.data.preparation import ELSEWHERE, OpenProgress, Preparation, complete
from llmkit.data.prepared_text import (
    HeldOutText,
    PreparedSource,
    PreparedText,
    is_prepared,
    is_unfinished,
    open_prepared,
    tokenizer_hash,
)
from llmkit.data.rows import Rows
from llmkit.data.unique_texts import Removal
from llmkit.errors import UserError
from llmkit.paths import cache_folder
from llmkit.tasks import Task

# The content of a folder depends on these sources and on cache.TOKEN_SOURCES.
SHARD_SOURCES = (
    "data/preparation.py", "data/prepare.py", "data/text_chunks.py", "data/text_shards.py",
    "data/unique_texts.py",
)  # fmt: skip


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
    train = splits["train"]
    if isinstance(train.source, PreparedSource):
        prepared = train.source.prepared
        require_tokenizer(prepared, tokenizer)
        require_removal(prepared, removal)
        return prepared, True
    read = {"train": train} | {
        split: rows for split, rows in splits.items() if is_held_out(rows, train)
    }
    if removal is not None:
        others = [rows for rows in removal.held_out if not is_held_out(rows, train)]
        removal = replace(removal, held_out=others)
    key = shards_key(read, tokenizer, removal)
    in_cache = cache_folder() / "shards" / key
    parents = [in_cache.parent] if folder is None else []  # another folder is created in `run`
    preparation = Preparation(folder or in_cache, key, read, tokenizer, removal)
    was_there = is_prepared(preparation.folder) and not is_unfinished(preparation.folder)
    if not was_there:
        make_folders(*parents, cache_folder() / "locks")
        run_once(preparation, say, open_progress)
    prepared = open_prepared(preparation.folder)
    if prepared.key != key:
        raise UserError(
            f"{prepared.folder}: contains other text, or text prepared with other settings; "
            f"{ELSEWHERE}"
        )
    return prepared, was_there


def run_once(
    preparation: Preparation, say: Callable[[str], None], open_progress: OpenProgress
) -> None:
    """Run the preparation, unless another process does so in the meantime. See `prepare`."""
    folder = preparation.folder
    name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()
    with exclusive(name, say):
        if not is_prepared(folder):
            preparation.run(open_progress)
        elif is_unfinished(folder):
            complete(folder)


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
