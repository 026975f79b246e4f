"""Encoded rows: the Arrow file, and counts of tokens and bytes of each row."""

import hashlib
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets.arrow_reader import ArrowReader
from transformers import PreTrainedTokenizerBase

from llmkit.constants import IGNORE_INDEX

TOKEN_COLUMNS = ("input_ids", "labels")


class EncodedRows:
    """Encoded rows as NumPy views of their memory-mapped file."""

    def __init__(self, encoded: Dataset) -> None:
        self.encoded = encoded
        self.columns = {name: ListColumn(encoded.data.column(name)) for name in TOKEN_COLUMNS}
        self.lengths, self.supervised = count_tokens(encoded)
        """Number of tokens and of supervised tokens of each row, (num_rows,) each."""

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """`input_ids` and `labels` (T,) of a row; read-only."""
        return {name: column[index] for name, column in self.columns.items()}

    def where(self, index: int) -> str:
        """Location (file:line) of a row."""
        return self.encoded[index]["where"]

    def fingerprint(self) -> str:
        """SHA-256 of the tokens and labels, in order."""
        digest = hashlib.sha256()
        for name in TOKEN_COLUMNS:
            for chunk in self.encoded.data.column(name).chunks:
                digest.update(chunk.flatten().to_numpy().tobytes())
        return digest.hexdigest()


class ListColumn:
    """The lists of a column, as views."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.first_rows = np.cumsum([0, *map(len, column.chunks)])
        self.offsets = [chunk.offsets.to_numpy() for chunk in column.chunks]
        self.values = [chunk.values.to_numpy() for chunk in column.chunks]

    def __getitem__(self, index: int) -> np.ndarray:
        chunk = int(np.searchsorted(self.first_rows, index, "right")) - 1
        start, end = self.offsets[chunk][index - self.first_rows[chunk] :][:2]
        return self.values[chunk][start:end]


def open_arrow(path: Path) -> Dataset:
    """Map an Arrow file into memory as a data set.

    `Dataset.from_file` would also compute a fingerprint of the data set, which takes longer than
    all else and serves only the cache of datasets.
    """
    return Dataset(ArrowReader.read_table(str(path)), fingerprint=uuid4().hex)


def count_tokens(encoded: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Number of tokens and of supervised tokens of each row, (num_rows,) each. The first token of a
    row is never supervised."""
    lengths, supervised = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for chunk in encoded.data.column("labels").chunks:  # never all tokens at once
        ends = chunk.offsets.to_numpy()
        is_supervised = chunk.values.to_numpy()[ends[0] : ends[-1]] != IGNORE_INDEX
        starts = ends[:-1] - ends[0]
        is_supervised[starts] = False
        lengths.append(np.diff(ends))
        supervised.append(np.add.reduceat(is_supervised, starts, dtype=np.int64))
    return np.concatenate(lengths), np.concatenate(supervised)


def encode_with_bytes(
    texts: list[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[list[int]], list[np.ndarray]]:
    """Tokenize texts like `encode_text`, and count the bytes of each token and of the end-of-text
    after each text.

    For any tokenizer, the bytes add up to those of the text: a token counts the bytes from the end
    of the previous token to its own end, including spaces and characters that the tokenizer drops.
    """
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    encodings = backend.encode_batch(texts, add_special_tokens=False)
    sizes = []
    for text, encoding in zip(texts, encodings, strict=True):
        bytes_before = np.cumsum([0, *(len(character.encode()) for character in text)])
        ends = [end for _, end in encoding.offsets]
        ends = np.maximum.accumulate([0, *ends, len(text)])
        sizes.append(np.diff(bytes_before[ends]))
    return [encoding.ids for encoding in encodings], sizes
