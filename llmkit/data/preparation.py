"""Write a folder of prepared text: read, tokenize and write its documents, part by part.

One thread reads rows and assigns them to splits, a second one tokenizes on all cores (the
tokenizers library releases the GIL), and the calling thread writes. Only a few chunks of text are
in memory at a time. The format of the folder is described in data/prepared_text.py.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from llmkit.data.encoding_report import EncodingReport
from llmkit.data.prepared_text import FORMAT, TOKENIZER, UNFINISHED, is_unfinished, tokenizer_hash
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
from llmkit.data.unique_texts import HELD_OUT_DIGESTS, Removal, open_filter, without_duplicates
from llmkit.errors import UserError
from llmkit.io.atomic import (
    MANIFEST,
    CorruptFolder,
    HashedFile,
    make_folder,
    read_own_json,
    sync,
    write_text,
)
from llmkit.io.indexed_tokens import token_type
from llmkit.runtime.read_ahead import read_ahead

CHUNKS_AHEAD = 2
ELSEWHERE = "name another folder, or delete this one"


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


@dataclass(frozen=True)
class Preparation:
    """Rows to prepare, and the folder to write."""

    folder: Path
    key: str
    """Hash of everything that the content of the folder depends on."""
    splits: dict[str, Rows]
    """`train`, and the held-out splits that are taken from the training rows."""
    tokenizer: PreTrainedTokenizerBase
    removal: Removal | None
    """Duplicates to remove from the training documents; None: keep all."""

    @property
    def held_out(self) -> list[str]:
        """Names of the held-out splits."""
        return [split for split in self.splits if split != "train"]

    @property
    def dtype(self) -> np.dtype:
        """Type of the token ids in the files."""
        return token_type(len(self.tokenizer))

    def run(self, open_progress: OpenProgress) -> None:
        """Write the folder. If an earlier run was interrupted, continue after its finished parts.

        open_progress: See `prepare`.

        Raises:
            UserError: The folder has other contents, a row cannot be read, or no document is left.
        """
        self._claim()
        try:
            with open_progress() as show:
                parts = self._write_parts(show)
            self._finish(parts)
        except UserError:  # an unreadable row or a lost connection
            if not finished_parts(self.folder):
                names = (UNFINISHED, TOKENIZER, HELD_OUT_DIGESTS)
                remove([self.folder / name for name in names])
                with suppress(OSError):  # another program's file
                    self.folder.rmdir()
            raise
        except OSError as error:
            error.filename = error.filename or str(self.folder)
            error.advice = "; run the command again to continue after the last finished shard"
            raise

    def _claim(self) -> None:
        """Mark the folder as unfinished; raises UserError if it has other contents."""
        folder = self.folder
        make_folder(folder)
        if is_unfinished(folder):
            try:
                is_own = read_own_json(folder / UNFINISHED).get("key") == self.key
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
        write_text(folder / UNFINISHED, json.dumps({"format": FORMAT, "key": self.key}))

    def _write_parts(self, show: Show) -> list[dict[str, Any]]:
        """Write the parts after the finished ones; returns the records of all parts."""
        parts = finished_parts(self.folder)
        progress = Progress(num_kept_bytes=sum(part["bytes"] for part in parts))
        part: PartWriter | None = None
        try:
            with closing(self._encoded_chunks(parts)) as chunks:
                for chunk, encodings in chunks:
                    part = part or self._begin_part(parts)
                    part.add_chunk(chunk, [encoding.ids for encoding in encodings])
                    progress = progress.after(chunk, encodings)
                    show(progress)
                    if chunk.ends_part:
                        parts.append(part.publish())
                        part = None
            if part is None and not parts:  # a folder has at least one part
                part = self._begin_part(parts)
            if part is not None:
                parts.append(part.publish())
        except BaseException:
            if part is not None:
                part.abandon()
            raise
        return parts

    def _encoded_chunks(self, finished: list[dict[str, Any]]) -> Iterator[tuple[Chunk, list[Any]]]:
        """Read and tokenize, in threads, the chunks after the finished parts."""
        chunks = read_ahead(read_chunks(self.splits, _next_row(finished)), CHUNKS_AHEAD)
        if self.removal is not None:
            kept = open_filter(self.folder, len(finished), self.splits, self.removal)
            chunks = read_ahead(without_duplicates(chunks, kept, self.removal.kind), 1)
        return read_ahead(tokenize(chunks, self.tokenizer), 1)

    def _begin_part(self, earlier: list[dict[str, Any]]) -> PartWriter:
        """The writer of the part after `earlier`."""
        return PartWriter(
            self.folder,
            len(earlier),
            _next_row(earlier),
            self.held_out,
            self.dtype,
            self.tokenizer.eos_token_id,
            None if self.removal is None else [],
        )

    def _finish(self, parts: list[dict[str, Any]]) -> None:
        """Join the held-out documents, and write the manifest, which completes the folder."""
        shards = [part_name("train", number) for number in range(len(parts))]
        records = TextRecords([self.folder / f"{shard}.arrow" for shard in shards])
        if not len(records):
            source = self.splits["train"].source
            raise UserError(f"{source.name}: no row is left to train on; add rows")
        EncodingReport(records).require_supervised(0, truncate_completion=True)
        saved = HashedFile(self.folder / TOKENIZER)
        saved.write(self.tokenizer.backend_tokenizer.to_str().encode())
        files = {TOKENIZER: saved.close()}
        for part in parts:
            own = part["files"].items()
            files |= {name: file for name, file in own if name.startswith("train-")}
        for split in self.held_out:
            files |= join_held_out(self.folder, split, len(parts), self.dtype)
        manifest = self._manifest(shards, parts) | {"files": files}
        write_text(self.folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        complete(self.folder)

    def _manifest(self, shards: list[str], parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The manifest without its files."""
        train, tokenizer = self.splits["train"], self.tokenizer
        held_out = {
            split: {
                name: sum(part["splits"][split][name] for part in parts)
                for name in ("documents", "tokens")
            }
            for split in self.held_out
        }
        return {
            "format": FORMAT,
            "key": self.key,
            "source": train.source.name,
            "tokenizer_sha256": tokenizer_hash(tokenizer),
            "vocab_size": len(tokenizer),
            "end_of_text": tokenizer.eos_token_id,
            "dtype": self.dtype.name,
            "text_bytes": sum(part["bytes"] for part in parts),
            "remove_duplicates": self.removal and self.removal.kind,
            "rows_in_quotes": train.rows_in_quotes(),
            "shards": [
                {"name": shard, **part["splits"]["train"], "rows": part["rows"]}
                for shard, part in zip(shards, parts, strict=True)
            ],
            "held_out": held_out,
        }


def complete(folder: Path) -> None:
    """Delete the files of an unfinished preparation, and last the mark that it is unfinished."""
    remove_own(folder, {*read_own_json(folder / MANIFEST)["files"]})
    remove([folder / HELD_OUT_DIGESTS])
    sync(folder)
    remove([folder / UNFINISHED])


def _next_row(parts: list[dict[str, Any]]) -> int:
    """Index in the source of the first row after some parts."""
    return parts[-1]["rows"][1] if parts else 0
