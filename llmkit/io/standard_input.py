"""Lines of standard input, as they arrive."""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from llmkit.errors import UserError
from llmkit.io.text_lines import MAX_LINE_BYTES, Line, check_mark, decode_line

STANDARD_INPUT = Path("standard input")  # as messages call it
CHUNK_BYTES = 2**18  # read at once, if that many are there
ADVICE = "give either --prompt TEXT or --input FILE, or pipe in prompts, one per line"


def read_chunks() -> Iterator[bytes]:
    """The bytes of standard input as they arrive.

    Raises UserError, after the first of them, if there are none, or if they would have to be typed.
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
    """The lines that have arrived, at most `max_lines` at a time; waits only if there is none.

    Args:
        chunks: The bytes, as they arrive.
        encoding: None: UTF-8.

    Raises UserError for an encoding in which a line cannot be recognized by its last byte.
    """
    encoding = encoding or "utf-8"
    if "\n".encode(encoding) != b"\n":
        raise UserError(
            f"data.encoding: {STANDARD_INPUT} cannot be {encoding}; convert it to UTF-8, or give "
            "--input FILE"
        )
    number = 0
    for lines in _arrived(chunks):
        for start in range(0, len(lines), max_lines):
            part = lines[start : start + max_lines]
            decoded = [
                decode_line(place, line, STANDARD_INPUT, encoding)
                for place, line in enumerate(part, number + 1)
            ]
            yield [check_mark(line, STANDARD_INPUT) for line in decoded]
            number += len(part)


def _arrived(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines that end in each chunk, without their line endings."""
    beginning: list[bytes] = []  # of a line that has not ended
    for chunk in chunks:
        first, *further = chunk.split(b"\n")
        beginning.append(first)
        if not further:
            if sum(map(len, beginning)) > MAX_LINE_BYTES:
                raise UserError(
                    f"{STANDARD_INPUT}: a line of more than {MAX_LINE_BYTES // 2**20} MB; break "
                    "it up"
                )
            continue
        yield [b"".join(beginning), *further[:-1]]
        beginning = [further[-1]]
    if last := b"".join(beginning):
        yield [last]
