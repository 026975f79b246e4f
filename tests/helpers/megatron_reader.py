"""A reader of Megatron-LM's indexed datasets, written from the layout of its index alone.

Source: `_IndexReader` in megatron/core/datasets/indexed_dataset.py (commit 00caa53), which checks
the magic, the version, and that the last document index is the number of sequences.
"""

import struct
from itertools import chain, pairwise
from pathlib import Path

SIZES = {1: "B", 2: "b", 3: "h", 4: "i", 5: "q", 8: "H"}  # code of the type -> struct's letter


def read_documents(prefix: Path) -> list[list[int]]:
    """The token ids of each document of `prefix.bin` and `prefix.idx`."""
    index = Path(f"{prefix}.idx").read_bytes()
    tokens = Path(f"{prefix}.bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack_from("<Q", index, 9) == (1,)
    letter = SIZES[index[17]]
    sequences, documents = struct.unpack_from("<QQ", index, 18)
    at = 34
    lengths = struct.unpack_from(f"<{sequences}i", index, at)
    at += 4 * sequences
    pointers = struct.unpack_from(f"<{sequences}q", index, at)
    at += 8 * sequences
    borders = struct.unpack_from(f"<{documents}q", index, at)
    assert at + 8 * documents == len(index)
    assert borders[-1] == sequences
    assert sum(lengths) * struct.calcsize(letter) == len(tokens)
    read = [
        list(struct.unpack_from(f"<{length}{letter}", tokens, pointer))
        for length, pointer in zip(lengths, pointers, strict=True)
    ]
    return [[*chain.from_iterable(read[a:b])] for a, b in pairwise(borders)]
