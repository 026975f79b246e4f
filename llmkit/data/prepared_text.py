"""A folder of prepared text: training documents as token shards, and held-out documents.

manifest.json                  counts, and the SHA-256 of each file
tokenizer.json                 the tokenizer, in the format of the tokenizers library
train-00000.bin, .idx          token ids; end-of-text follows each document (io/indexed_tokens.py)
train-00000.arrow              a record of each row that was read (data/text_records.py)
validation.jsonl, test.jsonl   the held-out documents as text, for scoring
validation.bin, .idx, ...      the token ids of the held-out documents
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import ArrowInvalid
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from llmkit.data.encoding_report import EncodingReport
from llmkit.data.text_records import TextRecords
from llmkit.errors import UserError
from llmkit.io.atomic import MANIFEST, CorruptFolder, read_own_json, verify
from llmkit.io.indexed_tokens import TYPE_CODES, read_lengths
from llmkit.io.json_rows import read_jsonl
from llmkit.io.text_lines import Raw

FORMAT_NAME = "llmkit prepared text"
FORMAT = f"{FORMAT_NAME} 1"  # with its version
UNFINISHED = "unfinished.json"  # marks a folder whose preparation is not finished
TOKENIZER = "tokenizer.json"
TYPES = {dtype.name: dtype for dtype in TYPE_CODES}


@dataclass(frozen=True)
class Shard:
    """The tokens of consecutive training documents."""

    path: Path
    """Path without extension."""
    num_tokens: int
    num_documents: int
    sha256: str
    """SHA-256 of the token ids."""
    dtype: np.dtype

    def file(self, extension: str) -> Path:
        """Path of the file with this extension."""
        return self.path.with_name(f"{self.path.name}.{extension}")

    def map(self) -> np.ndarray:
        """The token ids (num_tokens,), memory-mapped."""
        if not self.num_tokens:  # an empty file cannot be mapped
            return np.zeros(0, self.dtype)
        return np.asarray(np.memmap(self.file("bin"), self.dtype, "r", shape=(self.num_tokens,)))


@dataclass(frozen=True)
class PreparedText:
    """A complete folder of prepared text."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def key(self) -> str:
        """Hash of everything that the content of the folder depends on."""
        return self.manifest["key"]

    @property
    def end_of_text(self) -> int:
        return self.manifest["end_of_text"]

    @property
    def held_out(self) -> dict[str, dict[str, Any]]:
        """Number of documents and tokens of each held-out split in the folder."""
        return self.manifest["held_out"]

    @property
    def shards(self) -> list[Shard]:
        """Shards of the training split, in order."""
        dtype, files = TYPES[self.manifest["dtype"]], self.manifest["files"]
        return [
            Shard(
                self.folder / shard["name"],
                shard["tokens"],
                shard["documents"],
                files[f"{shard['name']}.bin"]["sha256"],
                dtype,
            )
            for shard in self.manifest["shards"]
        ]

    @property
    def num_documents(self) -> int:
        """Number of training documents."""
        return sum(shard.num_documents for shard in self.shards)

    @property
    def num_tokens(self) -> int:
        """Number of training tokens, including end-of-text."""
        return sum(shard.num_tokens for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Total size of the files in bytes."""
        return sum(file["bytes"] for file in self.manifest["files"].values())

    @cached_property
    def report(self) -> EncodingReport:
        """Report on the rows of the training split."""
        try:
            return EncodingReport(TextRecords([shard.file("arrow") for shard in self.shards]))
        except (OSError, ArrowInvalid) as error:
            raise damaged(self.folder, str(error).partition("\n")[0]) from None

    @cached_property
    def records_of_documents(self) -> np.ndarray:
        """Index of each document's record among the records of all rows read, (num_documents,)."""
        return np.flatnonzero(self.report.is_encoded)

    def verify(self) -> None:
        """Raise UserError if a file differs from its checksum."""
        try:
            verify(self.folder)
        except CorruptFolder as error:
            raise damaged(self.folder, str(error)) from None


def open_prepared(folder: Path) -> PreparedText:
    """Open a folder; raises UserError if one of its files is missing or has another size."""
    try:
        manifest = read_own_json(folder / MANIFEST)
        if manifest.get("format") != FORMAT:
            raise CorruptFolder(f"the format of {MANIFEST} is not {FORMAT!r}")
        for name, file in manifest["files"].items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != file["bytes"]:
                there = "is missing" if size is None else f"has {size:,} bytes"
                raise CorruptFolder(f"{name} {there}, expected {file['bytes']:,} bytes")
        itemsize = TYPES[manifest["dtype"]].itemsize
        for shard in manifest["shards"]:
            name = f"{shard['name']}.bin"
            if shard["tokens"] * itemsize != manifest["files"][name]["bytes"]:
                raise CorruptFolder(f"the counts in {MANIFEST} do not fit {name}")
    except CorruptFolder as error:
        raise damaged(folder, str(error)) from None
    except (KeyError, TypeError, AttributeError):
        raise damaged(folder, f"{MANIFEST} is malformed") from None
    return PreparedText(folder, manifest)


def is_prepared(folder: Path) -> bool:
    """Whether a folder contains complete prepared text."""
    try:
        return str(read_own_json(folder / MANIFEST).get("format")).startswith(FORMAT_NAME)
    except CorruptFolder:
        return False


def has_prepared_text(folder: Path) -> bool:
    """Whether a folder contains prepared text, even if its manifest is missing or damaged."""
    own = (folder / f"train-00000.{extension}" for extension in ("idx", "arrow"))
    return is_prepared(folder) or all(map(os.path.isfile, own))


def is_unfinished(folder: Path) -> bool:
    """Whether a folder is being prepared, or its preparation was interrupted."""
    return os.path.isfile(folder / UNFINISHED)  # Path.is_file raises where a name is too long


def damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder}: this prepared text is damaged ({reason}); delete the "
        "folder, and prepare or copy it again"
    )


@dataclass(frozen=True)
class PreparedSource:
    """The training documents of a folder of prepared text, as a source of rows."""

    prepared: PreparedText

    @property
    def name(self) -> str:
        return str(self.prepared.folder)

    def read(self) -> Iterator[Raw]:
        """Decode the documents; yields them with their locations in the original source."""
        tokenizer = Tokenizer.from_file(str(self.prepared.folder / TOKENIZER))
        first = 0
        for shard in self.prepared.shards:
            records = self.prepared.records_of_documents[first : first + shard.num_documents]
            locations = self.prepared.report.locations_at(records)
            ends = np.cumsum(read_lengths(shard.file("idx")))
            for where, ids in zip(locations, np.split(shard.map(), ends[:-1]), strict=True):
                text = tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False)
                yield where, {"text": text}
            first += shard.num_documents

    def identity(self) -> str:
        return self.prepared.key

    def num_rows(self) -> int:
        return self.prepared.num_documents

    def num_text_bytes(self) -> int | None:
        return None

    def rows_in_quotes(self) -> list[str]:
        return self.prepared.manifest["rows_in_quotes"]


@dataclass(frozen=True)
class HeldOutText:
    """A held-out split of a folder of prepared text, as a source of rows."""

    name: str
    """Name of the original source."""
    prepared: PreparedText
    split: str

    def read(self) -> Iterator[Raw]:
        """Yields the rows with their locations in the original source."""
        for place, row in read_jsonl(self.prepared.folder / f"{self.split}.jsonl"):
            if isinstance(row, UserError):
                yield place, row
            else:
                yield row["where"], {"id": row["id"], "text": row["text"], **row.get("by", {})}

    def identity(self) -> str:
        return f"{self.prepared.key} {self.split}"

    def num_rows(self) -> int:
        return self.prepared.held_out[self.split]["documents"]

    def num_text_bytes(self) -> int | None:
        return None

    def rows_in_quotes(self) -> list[str]:
        return []


def open_part(folder: Path, split: str, given_by: str) -> PreparedSource | HeldOutText:
    """Open a split of a folder of prepared text.

    given_by: Recipe key that names the folder, for messages.
    """
    prepared = open_prepared(folder)
    if split == "train":
        return PreparedSource(prepared)
    if split in prepared.held_out:
        return HeldOutText(str(folder), prepared, split)
    raise UserError(
        f"{folder}: this prepared text has no held-out {split} documents; name other rows in "
        f"{given_by}"
    )


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of everything that the tokens of a text depend on."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    for part in _parts_of(content["pre_tokenizer"]):
        part.pop("trim_offsets", None)  # affects only the offsets of tokens, which are not used
    typed = [token for token in content["added_tokens"] if not token["special"]]
    names = ("normalizer", "pre_tokenizer", "model")
    relevant = [tokenizer.eos_token_id, typed, *(content[name] for name in names)]
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _parts_of(component: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Iterate over a component of a tokenizer and its nested components."""
    if component is not None:
        yield component
        for part in component.get("pretokenizers", []):
            yield from _parts_of(part)
