"""Lines of a text file of any compression, encoding and line ending.

A file is decompressed and decoded while it is read, never as a whole.
"""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from llmkit.errors import UserError, printable
from llmkit.paths import COMPRESSIONS
from llmkit.units import show_bytes

# Location of a row (file:line), and its columns in the file or what is wrong with it.
Raw = tuple[str, dict[str, Any] | UserError]
# Number from 1, text with its line ending, and an error if the line cannot be decoded.
Line = tuple[int, str, UserError | None]

MAX_LINE_BYTES = 2**26  # of a line in a compressed file, and of a cell in a table
# Of a paragraph; also of a document or a JSON list in a compressed file.
MAX_TEXT_CHARACTERS = 2**28
MAX_XZ_MEMORY = 2**27  # bytes; decompressing what `xz -9` wrote takes half of it
HEAD_BYTES = 2**16  # the part of a file by which encoding and line ending are recognized
BYTE_ORDER_MARK = "\ufeff"

# UTF-32 comes before UTF-16, since its mark begins with that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# First bytes of files that are not text -> (what they are, what to do).
BINARY_FORMATS = {
    b"\x1f\x8b": ("gzip-compressed", "add .gz to its name"),
    b"BZh": ("bzip2-compressed", "add .bz2 to its name"),
    b"\xfd7zXZ\0": ("xz-compressed", "add .xz to its name"),
    b"\x28\xb5\x2f\xfd": ("zstd-compressed", "add .zst to its name"),
    b"PK\3\4": ("a zip archive or an Excel workbook", "unpack it, or save it as CSV UTF-8"),
    b"PAR1": ("a parquet file", "rename it to end in .parquet"),
    b"ARROW1": ("an Arrow file", "rename it to end in .arrow"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save it as CSV UTF-8"),
}


def lines(path: Path, encoding: str | None = None) -> Iterator[Line]:
    """The lines of a file, each with its line ending; a CR alone becomes LF.

    A line that cannot be decoded comes with an error, and with replacement characters in its text.

    Args:
        encoding: None: UTF-8, or UTF-16 or UTF-32 if the first bytes show it.

    Raises:
        UserError: A compressed file is damaged, or a line is too long for memory.
    """
    number = 0
    try:
        head = _head(path)
        refuse_binary(head, path)
        recognized = _encoding_of(head)
        if encoding and codecs.lookup(encoding).name == "utf-8-sig":
            encoding = "utf-8"  # the mark is removed below
        is_wide = "\n".encode(recognized or encoding or "utf-8") != b"\n"
        if recognized is None and encoding and _is_only_utf8(head, encoding, is_wide):
            raise UserError(
                f"{path}: UTF-8, not {encoding} as data.encoding says; save all files in one "
                "encoding, such as UTF-8"
            )
        encoding = recognized or encoding or "utf-8"
        with open_stream(path) as stream:
            read = _wide_lines if is_wide else _byte_lines
            for line in read(stream, path, encoding, _ends_in_cr(head, encoding)):
                number = line[0]
                yield check_mark(line, path)
    except UserError:
        raise
    except _READ_ERRORS as error:
        compression = COMPRESSIONS.get(path.suffix.lower())
        if compression is None:
            raise
        reason = printable(" ".join(str(error).split()).rstrip("."))
        raise UserError(
            f"{path}: not readable as {compression} after line {number:,} ({reason}); compress "
            "or download the file again"
        ) from None


_READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


def check_mark(line: Line, path: Path) -> Line:
    """Remove the byte order mark at the start of the first line; in any other line it is an
    error."""
    number, text, error = line
    if not text.startswith(BYTE_ORDER_MARK):
        return line
    if number == 1:
        text = text.removeprefix(BYTE_ORDER_MARK)
    if text.startswith(BYTE_ORDER_MARK):
        error = error or UserError(
            f"{path}:{number}: a byte order mark inside the file: files were joined here; delete "
            "the mark, and a header that follows it"
        )
    return number, text, error


def open_stream(path: Path) -> BinaryIO:
    """The file's bytes, decompressed according to its extension."""
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path)
        case ".bz2":
            return bz2.open(path)
        case ".xz":
            return io.BufferedReader(_Xz(path), HEAD_BYTES)
        case ".zst":
            import pyarrow

            return io.BufferedReader(
                pyarrow.input_stream(str(path), compression="zstd"), HEAD_BYTES
            )
    return path.open("rb")


class _Xz(io.RawIOBase):
    """Like lzma.open, with a limit on the memory for decompression."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.decompressor: lzma.LZMADecompressor | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self.decompressor is None:
                start = self.file.read(HEAD_BYTES).lstrip(b"\0")  # padding between streams
                if not start:
                    return 0
                self.decompressor = lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY)
            else:
                start = self.file.read(HEAD_BYTES) if self.decompressor.needs_input else b""
                if not start and self.decompressor.needs_input:
                    raise EOFError("it ends too early")
            chunk = self.decompressor.decompress(start, len(buffer))
            if self.decompressor.eof:
                self.file.seek(-len(self.decompressor.unused_data), io.SEEK_CUR)
                self.decompressor = None
            if chunk:
                buffer[: len(chunk)] = chunk
                return len(chunk)

    def close(self) -> None:
        self.file.close()
        super().close()


def refuse_binary(head: bytes, path: Path) -> None:
    """Raise UserError if the first bytes show that the file is not text."""
    for magic, (what, advice) in BINARY_FORMATS.items():
        if head.startswith(magic):
            raise UserError(f"{path}: {what}, not text; {advice}")


def _head(path: Path) -> bytes:
    with open_stream(path) as stream:
        return stream.read(HEAD_BYTES)


def _encoding_of(head: bytes) -> str | None:
    """The encoding named by a byte order mark, or UTF-16 without one, which has a NUL byte next to
    each ASCII character; None if the bytes show neither."""
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    start = head[:32]
    halves = {"utf-16-be": (start[::2], start[1::2]), "utf-16-le": (start[1::2], start[::2])}
    for name, (high, low) in halves.items():
        if len(start) > 8 and high.count(0) > len(high) / 2 and 0 not in low:
            return name
    return None


def _is_only_utf8(head: bytes, encoding: str, is_wide: bool) -> bool:
    """Whether the first bytes are UTF-8 text that the encoding would misread.

    Encodings of Chinese, Japanese and Korean are never refused, since their bytes can be valid
    UTF-8 by chance.
    """
    if head.isascii() and not is_wide:
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # may end within a character
    except UnicodeDecodeError:
        return False
    has_chinese = "\u4e2d".encode(encoding, "ignore") != b""
    return "\0" not in text and (is_wide or not has_chinese)


def _ends_in_cr(head: bytes, encoding: str) -> bool:
    """Whether lines end in CR alone, as in classic Mac OS."""
    text = head.decode(encoding, "ignore").rstrip("\r")
    return "\r" in text and "\n" not in text


def _byte_lines(stream: BinaryIO, path: Path, encoding: str, ends_in_cr: bool) -> Iterator[Line]:
    """Decode each line separately, so that the error for an invalid byte names its line."""
    for number, line in enumerate(_split(stream, path, ends_in_cr), 1):
        yield decode_line(number, line, path, encoding)


def decode_line(number: int, line: bytes, path: Path, encoding: str) -> Line:
    """path: What the error for a bad byte calls the file."""
    try:
        decoded = line.decode(encoding)
    except UnicodeDecodeError as error:
        reason = (
            _explain_nul(line) if b"\0" in line else _explain_undecodable(line, error, encoding)
        )
    else:
        if "\0" not in decoded:
            return number, decoded, None
        reason = _explain_nul(line)
    text = line.decode(encoding, "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return number, text, UserError(f"{path}:{number}: {reason}")


def _split(stream: BinaryIO, path: Path, ends_in_cr: bool) -> Iterator[bytes]:
    if ends_in_cr:
        wrapper = io.TextIOWrapper(stream, "latin-1", newline="\r")  # one byte per character
        pieces = iter(lambda: wrapper.readline(MAX_LINE_BYTES), "")
        return (_check_length(p, path).replace("\r", "\n").encode("latin-1") for p in pieces)
    if path.suffix.lower() not in COMPRESSIONS:
        return iter(stream)
    return (
        _check_length(line, path) for line in iter(lambda: stream.readline(MAX_LINE_BYTES), b"")
    )


def _check_length(line: Any, path: Path) -> Any:
    """The line; raises UserError if it is too long to be read."""
    if len(line) < MAX_LINE_BYTES:
        return line
    raise UserError(
        f"{path}: a line of more than {show_bytes(MAX_LINE_BYTES)}; break it up, or decompress the "
        "file"
    )


def _wide_lines(stream: BinaryIO, path: Path, encoding: str, ends_in_cr: bool) -> Iterator[Line]:
    """Lines of an encoding in which LF takes several bytes, such as UTF-16."""
    wrapper = io.TextIOWrapper(
        stream, encoding, "surrogatepass", newline="\r" if ends_in_cr else "\n"
    )
    number = 0
    try:
        for line in iter(lambda: wrapper.readline(MAX_LINE_BYTES), ""):
            number, error = number + 1, None
            _check_length(line, path)
            text = line.replace("\r", "\n") if ends_in_cr else line
            if "\0" in text:
                error = UserError(f"{path}:{number}: a NUL character; save as UTF-8 text")
            elif not _is_whole(text):
                error = UserError(f"{path}:{number}: half a character; save as UTF-8 text")
            yield number, text, error
    except UnicodeError as broken:
        reason = getattr(broken, "reason", "damaged")
        raise UserError(
            f"{path}:{number + 1}: not {encoding.upper()} from here on ({reason}); save as UTF-8"
        ) from None


def _is_whole(text: str) -> bool:
    """Whether the text is free of lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _explain_nul(line: bytes) -> str:
    place = line.find(b"\0") + 1
    return f"byte {place} is NUL, which no text file contains; save as UTF-8 text"


def _explain_undecodable(line: bytes, error: UnicodeDecodeError, encoding: str) -> str:
    place = f"byte {error.start + 1} is not {encoding.upper()}"
    if encoding != "utf-8":
        return f"{place}; name the right data.encoding, or save as UTF-8"
    around = line[max(0, error.start - 20) : error.start + 20].decode("cp1252", "replace")
    word = next((w for w in around.split() if not w.isascii()), around.strip())
    return (
        f"{place}; save the file as UTF-8, or name its encoding: with data.encoding=cp1252 this "
        f"reads {printable(word, 40)!r}"
    )


def whole_text(path: Path, encoding: str | None = None) -> str:
    """The whole text of a file; raises UserError if a line cannot be decoded or it is too large."""
    parts, num_characters = [], 0
    for _, text, error in lines(path, encoding):
        if error is not None:
            raise error
        parts.append(text)
        num_characters += len(text)
        if num_characters > MAX_TEXT_CHARACTERS and path.suffix.lower() in COMPRESSIONS:
            raise UserError(
                f"{path}: more than {show_bytes(MAX_TEXT_CHARACTERS)} of text, which has to fit in "
                "memory; decompress the file, or split it"
            )
    return "".join(parts)
