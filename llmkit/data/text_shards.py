"""Write the documents of a recipe into a folder of prepared text, part by part.

A part consists of consecutive rows of the source: a shard of training tokens, and the held-out
documents among these rows. The boundaries of the parts depend only on the rows, so an interrupted
preparation that is continued writes the same files: it keeps the complete parts and continues with
the first row after them.
"""

import json
import re
from array import array
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.constants import END_OF_TEXT
from llmkit.data.row_records import is_over_tokenized
from llmkit.data.text_chunks import Chunk, Document
from llmkit.data.text_records import (
    END_OF_TEXT_TYPED,
    OVER_TOKENIZED,
    RecordWriter,
    digest_of,
)
from llmkit.data.unique_texts import digests_name, write_digests
from llmkit.io.atomic import CorruptFolder, HashedFile, read_own_json, sync, write_text
from llmkit.io.indexed_tokens import index_of, read_lengths
from llmkit.tasks import is_blank

COPY_BYTES = 2**20
PARTIAL = ".partial"
OWN_FILE = re.compile(
    r"part-\d+\.json|\w+-\d{5,}\.(bin|idx|arrow|jsonl|npy)|(validation|test)\.(bin|idx|jsonl)"
    rf"|.*{re.escape(PARTIAL)}"
)


def part_name(split: str, number: int) -> str:
    """Name of the files of a split in a part, without extension."""
    return f"{split}-{number:05}"


class SplitTokens:
    """Writes the .bin and .idx files of a split in a part."""

    def __init__(self, path: Path, dtype: np.dtype, end_of_text: int) -> None:
        """path: Path of the .bin file."""
        self.path, self.dtype = path, dtype
        self.lengths = array("i")
        self.file = HashedFile(partial_path(path))
        self.end = np.array([end_of_text], dtype).tobytes()

    def add(self, ids: list[int]) -> None:
        self.file.write(np.array(ids, self.dtype).tobytes() + self.end)
        self.lengths.append(len(ids) + 1)

    def close(self) -> dict[str, dict[str, Any]]:
        """Complete both files; returns their manifest entries."""
        index_name = self.path.with_suffix(".idx").name
        index = HashedFile(partial_path(self.path.with_suffix(".idx")))
        index.write(index_of(np.array(self.lengths, np.int32), self.dtype))
        return {self.path.name: self.file.close(), index_name: index.close()}


class PartWriter:
    """Writes the files of one part."""

    def __init__(
        self, folder: Path, number: int, first_row: int, held_out: list[str], dtype: np.dtype,
        end_of_text: int, digests: list[np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            folder: Folder of the prepared text.
            number: Index of the part.
            first_row: Index of its first row in the source.
            held_out: Names of the held-out splits.
            dtype: Type of the token ids.
            end_of_text: Token id of end-of-text.
            digests: List that collects the digests of the documents that are kept, if duplicates
                are removed.
        """
        self.folder, self.number = folder, number
        self.rows = [first_row, first_row]
        self.num_bytes = 0
        self.records = RecordWriter()
        self.digests = digests
        self.tokens = {
            split: SplitTokens(folder / f"{self.name(split)}.bin", dtype, end_of_text)
            for split in ("train", *held_out)
        }
        self.texts = {
            split: HashedFile(partial_path(folder / f"{self.name(split)}.jsonl"))
            for split in held_out
        }

    def name(self, split: str) -> str:
        return part_name(split, self.number)

    def add_chunk(self, chunk: Chunk, ids: list[list[int]]) -> None:
        """Add the documents of the next chunk. ids: Token ids of each document's text."""
        for document, of_document in zip(chunk.documents, ids, strict=True):
            self.add(document, of_document)
        if chunk.digests is not None:
            self.digests.append(chunk.digests)
        self.rows[1] = chunk.end

    def add(self, document: Document, ids: list[int]) -> None:
        """Add a document with the token ids of its text."""
        self.num_bytes += document.num_bytes
        is_empty = is_blank(document.text)
        if document.split == "train":
            self._record(document, ids, is_empty)
        else:
            self._write_text(document)
        if document.error is None and document.removed_as is None and not is_empty:
            self.tokens[document.split].add(ids)

    def _record(self, document: Document, ids: list[int], is_empty: bool) -> None:
        where, text = document.where, document.text
        if document.error is not None:
            self.records.add(where, "invalid", note=str(document.error))
            return
        if document.removed_as is not None:
            self.records.add(where, document.removed_as)
            return
        flags = END_OF_TEXT_TYPED * (END_OF_TEXT in text)
        flags |= OVER_TOKENIZED * is_over_tokenized(text, ids)
        outcome = "empty" if is_empty else "whole"
        digest = 0 if is_empty else digest_of(f"\0{text.strip()}")
        self.records.add(where, outcome, len(ids) + 1, flags, digest)

    def _write_text(self, document: Document) -> None:
        row = {"id": document.id, "where": document.where, "text": document.text}
        row |= {"by": document.by} if document.by else {}
        line = json.dumps(row, ensure_ascii=False) + "\n"
        self.texts[document.split].write(line.encode())

    def publish(self) -> dict[str, Any]:
        """Complete the files of the part, and write its record last; returns the record."""
        files: dict[str, dict[str, Any]] = {}
        for split in self.tokens.values():
            files |= split.close()
        for split, file in self.texts.items():
            files[f"{self.name(split)}.jsonl"] = file.close()
        records = HashedFile(partial_path(self.folder / f"{self.name('train')}.arrow"))
        records.write(self.records.to_bytes())
        files[f"{self.name('train')}.arrow"] = records.close()
        if self.digests is not None:
            name = digests_name(self.number)
            files[name] = write_digests(partial_path(self.folder / name), self.digests)
        for name in files:
            partial_path(self.folder / name).rename(self.folder / name)
        sync(self.folder)
        counts = {
            split: {"documents": len(tokens.lengths), "tokens": sum(tokens.lengths)}
            for split, tokens in self.tokens.items()
        }
        part = {"rows": self.rows, "bytes": self.num_bytes, "splits": counts, "files": files}
        write_text(self.folder / f"part-{self.number:05}.json", json.dumps(part))
        return part

    def abandon(self) -> None:
        """Delete the files of the part, to free space on a full disk."""
        files = [*(split.file for split in self.tokens.values()), *self.texts.values()]
        for file in files:
            with suppress(OSError):
                file.file.close()
        remove(self.folder.glob(f"*{PARTIAL}"))


def partial_path(path: Path) -> Path:
    return path.with_name(f"{path.name}{PARTIAL}")


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def remove_own(folder: Path, kept: set[str]) -> None:
    """Delete the files of a preparation except for `kept`; other files are not touched."""
    own = (path for path in folder.iterdir() if OWN_FILE.fullmatch(path.name))
    remove(path for path in own if path.name not in kept)


def finished_parts(folder: Path) -> list[dict[str, Any]]:
    """The records of the complete parts of a folder, in order. Deletes the files of incomplete
    parts."""
    parts = []
    while (part := _read_part(folder, len(parts))) is not None:
        parts.append(part)
    names = {name for part in parts for name in part["files"]}
    names |= {f"part-{number:05}.json" for number in range(len(parts))}
    remove_own(folder, names)
    return parts


def _read_part(folder: Path, number: int) -> dict[str, Any] | None:
    try:
        part = read_own_json(folder / f"part-{number:05}.json")
        sizes = {name: (folder / name).stat().st_size for name in part["files"]}
        is_complete = all(sizes[name] == file["bytes"] for name, file in part["files"].items())
        return part if is_complete else None
    except (CorruptFolder, OSError, LookupError, TypeError, AttributeError):
        return None


def join_held_out(
    folder: Path, split: str, num_parts: int, dtype: np.dtype
) -> dict[str, dict[str, Any]]:
    """Join the pieces of a held-out split into one file per extension; returns their manifest
    entries."""
    pieces = [folder / f"{part_name(split, number)}.bin" for number in range(num_parts)]
    files = {}
    for extension in ("bin", "jsonl"):
        file = HashedFile(partial_path(folder / f"{split}.{extension}"))
        for piece in pieces:
            with piece.with_suffix(f".{extension}").open("rb") as source:
                while block := source.read(COPY_BYTES):
                    file.write(block)
        files[f"{split}.{extension}"] = file.close()
    lengths = [read_lengths(piece.with_suffix(".idx")) for piece in pieces]
    index = HashedFile(partial_path(folder / f"{split}.idx"))
    index.write(index_of(np.concatenate(lengths), dtype))
    files[f"{split}.idx"] = index.close()
    for name in files:
        partial_path(folder / name).rename(folder / name)
    return files
