"""Token ids on disk, in the format of Megatron-LM's indexed datasets.

`NAME.bin` contains only the ids, little-endian, so that `np.memmap(file, dtype)` can read it, as in
nanoGPT. `NAME.idx` contains, little-endian and without padding:

    9 bytes                b"MMIDIDX" and two zero bytes
    uint64                 version, 1
    uint8                  type of the ids: 8 for uint16, 4 for int32
    uint64                 number of documents N
    uint64                 N + 1
    int32[N]               tokens of each document
    int64[N]               offset of each document in the .bin file, in bytes
    int64[N + 1]           0, 1, ..., N: each document is one sequence

Source: megatron/core/datasets/indexed_dataset.py of https://github.com/NVIDIA/Megatron-LM.
"""

import struct
from pathlib import Path

import numpy as np

from llmkit.io.atomic import CorruptFolder

MAGIC = b"MMIDIDX\0\0"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
TYPE_CODES = {np.dtype("<u2"): 8, np.dtype("<i4"): 4}


def token_type(vocab_size: int) -> np.dtype:
    """The smallest type of the format for token ids of a vocabulary."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<i4")


def index_of(lengths: np.ndarray, dtype: np.dtype) -> bytes:
    """Contents of an .idx file.

    Args:
        lengths: Number of tokens of each document, (num_documents,).
        dtype: Type of the ids in the .bin file.
    """
    lengths = np.asarray(lengths, "<i4")
    ends = np.cumsum(lengths, dtype="<i8") * dtype.itemsize
    header = HEADER.pack(MAGIC, VERSION, TYPE_CODES[dtype], len(lengths), len(lengths) + 1)
    documents = np.arange(len(lengths) + 1, dtype="<i8")
    return b"".join(
        [header, lengths.tobytes(), (ends - lengths * dtype.itemsize).astype("<i8").tobytes(),
         documents.tobytes()]
    )  # fmt: skip


def read_lengths(path: Path) -> np.ndarray:
    """Read the number of tokens of each document, (num_documents,), from an .idx file.

    Raises CorruptFolder if the file has another format.
    """
    with path.open("rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise CorruptFolder(f"{path.name} is too short")
    magic, version, code, count, _ = HEADER.unpack(header)
    if (magic, version) != (MAGIC, VERSION) or code not in TYPE_CODES.values():
        raise CorruptFolder(f"{path.name} is not an index of token ids")
    if path.stat().st_size != HEADER.size + count * (4 + 8 + 8) + 8:
        raise CorruptFolder(f"{path.name} has the wrong size for {count:,} documents")
    return np.fromfile(path, "<i4", count, offset=HEADER.size)
