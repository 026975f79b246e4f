"""Reading lines from standard input as they arrive."""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from llmkit.errors import UserError
from llmkit.io.text_lines import MAX_LINE_BYTES, Line, check_mark, decode_line
from llmkit.units import show_bytes

STANDARD_INPUT = Path("standard input")  # its name in messages
CHUNK_BYTES = 2**18  # maximum size of a chunk
ADVICE = "give either --prompt TEXT or --input FILE, or pipe in prompts, one per line"


def read_chunks() -> Iterator[bytes]:
    """Read standard input in chunks, as the bytes arrive.

    Waits for the first chunk. Raises UserError if standard input is empty, closed or a terminal.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(f"no prompt; {ADVICE}")
    read = partial(sys.stdin.buffer.read1, CHUNK_BYTES)
    first = read()
    if not first:
        raise UserError(f"{STANDARD_INPUT} is empty; {ADVICE}")
    return chain([first], iter(read, b""))


def read_lines(
    chunks: Iterable[bytes], encoding: str | None, max_lines: int
) -> Iterator[list[Line]]:
    """Yield the lines of each chunk as soon as it arrives, in lists of at most `max_lines`.

    Args:
        chunks: Bytes of the input, split anywhere.
        encoding: None: UTF-8.

    Raises UserError for an encoding, such as UTF-16, in which a line break is not a single byte.
    """
    encoding = encoding or "utf-8"
    if "\n".encode(encoding) != b"\n":
        raise UserError(
            f"data.encoding: {STANDARD_INPUT} cannot be read as {encoding}; convert it to UTF-8, "
            "or use --input FILE"
        )
    number = 0
    for lines in _split_into_lines(chunks):
        for start in range(0, len(lines), max_lines):
            part = lines[start : start + max_lines]
            decoded = [
                decode_line(place, line, STANDARD_INPUT, encoding)
                for place, line in enumerate(part, number + 1)
            ]
            yield [check_mark(line, STANDARD_INPUT) for line in decoded]
            number += len(part)


def _split_into_lines(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines that end in each chunk, without line endings."""
    beginning: list[bytes] = []  # of an incomplete line
    for chunk in chunks:
        first, *further = chunk.split(b"\n")
        beginning.append(first)
        if not further:
            if sum(map(len, beginning)) > MAX_LINE_BYTES:
                raise UserError(
                    f"{STANDARD_INPUT}: a line of more than {show_bytes(MAX_LINE_BYTES)}; split it"
                )
            continue
        yield [b"".join(beginning), *further[:-1]]
        beginning = [further[-1]]
    if last := b"".join(beginning):
        yield [last]
