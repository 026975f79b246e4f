"""Encoded rows: the Arrow file, counts of tokens and bytes of each row, and a fingerprint."""

import hashlib
from pathlib import Path
from uuid import uuid4

import numpy as np
from datasets import Dataset
from datasets.arrow_reader import ArrowReader
from transformers import PreTrainedTokenizerBase

from llmkit.constants import IGNORE_INDEX


def open_arrow(path: Path) -> Dataset:
    """Map an Arrow file into memory as a data set.

    `Dataset.from_file` would also compute a fingerprint of the data set, which takes longer than
    all else and serves only the cache of datasets.
    """
    return Dataset(ArrowReader.read_table(str(path)), fingerprint=uuid4().hex)


def count_tokens(encoded: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and supervised tokens of each row, (num_rows,) each; the first is never supervised."""
    lengths, supervised = [], []
    for chunk in encoded.data.column("labels").chunks:  # never all tokens at once
        ends = chunk.offsets.to_numpy()
        is_supervised = chunk.values.to_numpy()[ends[0] : ends[-1]] != IGNORE_INDEX
        starts = ends[:-1] - ends[0]
        is_supervised[starts] = False
        lengths.append(np.diff(ends))
        supervised.append(np.add.reduceat(is_supervised, starts, dtype=np.int64))
    return np.concatenate(lengths), np.concatenate(supervised)


def fingerprint(encoded: Dataset) -> str:
    """sha256 of the tokens and labels, in their order."""
    digest = hashlib.sha256()
    for name in ("input_ids", "labels"):
        for chunk in encoded.data.column(name).chunks:
            digest.update(chunk.flatten().to_numpy().tobytes())
    return digest.hexdigest()


def encode_with_bytes(
    texts: list[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[list[int]], list[np.ndarray]]:
    """For each text, its token ids as `encode_text` returns them, and the number of bytes of each
    of its tokens and of the end-of-text after them.

    For any tokenizer the bytes add up to those of the text, since a token counts the bytes from the
    end of the previous token to its own end: a space counts for the token after it, and so do
    characters that the tokenizer drops.
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
