"""Split documents of plain language modelling into sequences of at most `max_length` tokens.

The first token of a sequence is not predicted, so each sequence begins with the last token of the
previous one, and every token is supervised once.
"""

from collections.abc import Iterable, Iterator

Sequences = Iterator[tuple[str, list[int]]]  # file:line of the first document, and token ids


def split_into_blocks(texts: Iterable[tuple[str, list[int]]], max_length: int) -> Sequences:
    """Join all documents, and split them into blocks of `max_length` tokens; the last block may be
    shorter.

    GPT-2 was trained in this way (Radford et al. 2019). Each document begins and ends with
    end-of-text; between two documents, one of them is dropped.
    """
    buffer: list[int] = []
    step = max_length - 1
    first_where = ""
    for where, ids in texts:
        first_where = first_where or where
        buffer += ids[1:] if buffer else ids
        num_full = (len(buffer) - 1) // step
        for start in range(0, num_full * step, step):
            yield first_where, buffer[start : start + max_length]
            first_where = where
        buffer = buffer[num_full * step :]
        first_where = first_where if len(buffer) > 1 else ""
    if len(buffer) > 1:
        yield first_where, buffer


def split_into_pieces(texts: Iterable[tuple[str, list[int]]], max_length: int) -> Sequences:
    """Split each document separately into pieces of `max_length` tokens; the last piece of each may
    be shorter."""
    for where, ids in texts:
        for start in range(0, len(ids) - 1, max_length - 1):
            yield where, ids[start : start + max_length]
