"""Rows of csv and tsv files as Excel, pandas, R and databases write them."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from llmkit.errors import UserError, printable
from llmkit.io.text_lines import BYTE_ORDER_MARK, MAX_LINE_BYTES, Raw, lines

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
# Maximum size of the sample of a file that is used to detect its delimiter.
SAMPLE_LINES, SAMPLE_CHARACTERS = 200, 2**20
MIN_AGREEMENT = 0.5  # share of the sample's rows that must have as many fields as the header
MAX_BLANK_ROWS = 10_000  # rows held back until a row with text follows
MAX_QUOTED_CHARACTERS = 2**22  # of a quoted field with line breaks in a tab-delimited file
TEXT_AFTER_QUOTE = "expected after"  # in csv's message: "',' expected after '"'"
SEP_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # Excel's first line

# A cell may be longer than the 128 kB that csv allows by default.
csv.field_size_limit(MAX_LINE_BYTES)


@dataclass(frozen=True)
class Dialect:
    """The separation of fields in a file."""

    delimiter: str
    quotes_are_text: bool = False
    """Whether a quote is an ordinary character because fields are never quoted."""
    header_line: int = 1
    """Line number of the header: 2 after Excel's `sep=;`."""


def read_table(path: Path, usual: str, encoding: str | None = None) -> Iterator[Raw]:
    """The rows below the header.

    usual: the delimiter of the file's format, used unless header and rows show another one.
    """
    dialect = recognize(path, usual, encoding)
    bad: list[UserError] = []
    lines_of_fields = _records(_text(path, encoding, bad), dialect, path)
    first, (header, *cut) = next(((n, r) for n, r in lines_of_fields if any(r)), (0, [[]]))
    if bad or isinstance(header, UserError):
        raise next(iter(bad), header)
    header = [name.strip() for name in header]
    check_names(header, f"{path}:{first}")
    names = sorted(header)
    blank: list[Raw] = []  # rows without any text, as Excel leaves them below a table
    for start, records in chain([(first, cut)], lines_of_fields):
        where = f"{path}:{start}"
        bad += [record for record in records if isinstance(record, UserError)]
        if bad:
            rows = [bad[0]]
            bad.clear()
        else:
            rows = [_row_of(fields, header, names, where) for fields in records if fields]
            if len(rows) > 1 and any(isinstance(row, UserError) for row in rows):
                rows = [_split_by_carriage_return(where)]
            elif not any(map(any, records)) and len(blank) < MAX_BLANK_ROWS:
                blank += [(where, row) for row in rows]
                continue
        yield from blank
        blank.clear()
        yield from ((where, row) for row in rows)


def recognize(path: Path, usual: str, encoding: str | None = None) -> Dialect:
    """The dialect of a file: the delimiter from its first rows, the meaning of quotes from all."""
    sample, num_characters = [], 0
    for line in _text(path, encoding, []):
        sample.append(line)
        num_characters += len(line)
        if len(sample) > SAMPLE_LINES or num_characters > SAMPLE_CHARACTERS:
            sample.pop()
            break
    else:
        num_characters = 0  # the sample is the whole file
    header_line, named = 1, None
    if sample and (sep := SEP_LINE.fullmatch(sample[0])):
        sample, header_line, named = sample[1:], 2, sep[1]
    delimiter = named or _delimiter(sample, usual, is_whole=num_characters == 0)
    width = len(next(filter(None, _parse(sample, delimiter)), []))
    quotes_are_text = (
        delimiter == "\t"
        and width > 1
        and _quotes_are_text(chain.from_iterable(map(_pieces, _text(path, encoding, []))), width)
    )
    return Dialect(delimiter, quotes_are_text, header_line)


def _delimiter(sample: list[str], usual: str, *, is_whole: bool) -> str:
    """The delimiter with which the header has two or more fields and most rows have as many; the
    usual one if there is none."""
    shares = {usual: 0.0}
    for delimiter in (usual, *(other for other in DELIMITERS if other != usual)):
        header, *rows = _widths(sample, delimiter, is_whole=is_whole) or [0]
        if header > 1:
            shares[delimiter] = sum(width == header for width in rows) / len(rows) if rows else 1.0
    best = max(shares, key=shares.get)  # of several, the first
    if shares[best] >= MIN_AGREEMENT:
        return best
    return _absent_delimiter(sample, usual, is_whole=is_whole)


def _absent_delimiter(sample: list[str], usual: str, *, is_whole: bool) -> str:
    """The delimiter of a csv file whose header has one field: if its rows have varying numbers of
    fields, because their texts contain commas without quotes, as in Excel's files with semicolons,
    one that the sample does not contain; else the usual one.

    Rows that agree on several fields have columns that the header does not name.
    """
    widths = set(_widths(sample, usual, is_whole=is_whole)[1:])
    if usual == "," and len(widths) > 1:
        return next((d for d in ("\t", ";", "|") if _is_one_column(sample, d)), usual)
    return usual


def _is_one_column(sample: list[str], delimiter: str) -> bool:
    pieces = chain.from_iterable(map(_pieces, sample))
    try:
        return all(
            len(fields) <= 1 for fields in csv.reader(pieces, delimiter=delimiter, strict=True)
        )
    except csv.Error as error:
        return TEXT_AFTER_QUOTE not in str(error)  # else the end of the sample is in a quoted field


def _widths(sample: list[str], delimiter: str, *, is_whole: bool) -> list[int]:
    """Number of fields of the header and of each row, without empty fields beyond the header's."""
    parsed = [fields for fields in _parse(sample, delimiter) if fields]
    if not is_whole:
        parsed = parsed[:-1]  # the last one may be incomplete
    if delimiter == "\t":  # quotes may be text, and would join rows
        raw = [line.rstrip("\r\n").split("\t") for line in sample if line.strip()]
        parsed = max(parsed, raw, key=lambda rows: _agreement(rows))
    header = len(parsed[0]) if parsed else 0
    return [_width(fields, header) for fields in parsed]


def _parse(sample: list[str], delimiter: str) -> Iterator[list[str]]:
    """The records before the first malformed one."""
    with suppress(csv.Error):
        yield from csv.reader(chain.from_iterable(map(_pieces, sample)), delimiter=delimiter)


def _agreement(rows: list[list[str]]) -> float:
    return sum(_width(row, len(rows[0])) == len(rows[0]) for row in rows) / max(1, len(rows))


def _width(fields: list[str], header: int) -> int:
    width = len(fields)
    while width > header and not fields[width - 1]:
        width -= 1
    return width


def rows_in_quotes(path: Path, usual: str, encoding: str | None = None) -> list[str]:
    """Locations (file:first-last line) of quoted fields whose lines each look like a row, as when
    one text begins with a quote and a later one ends with a quote.

    Empty if most quoted fields with line breaks do not look like that.
    """
    dialect = recognize(path, usual, encoding)
    if dialect.quotes_are_text:
        return []
    found, num_blocks, width = [], 0, 0
    num_lines = num_quotes = 0
    are_rows = True
    for number, line, _ in lines(path, encoding):
        if number < dialect.header_line:
            continue
        width = width or len(next(_parse([line], dialect.delimiter), []))
        num_lines += 1
        num_quotes += line.count('"')
        are_rows &= line.count(dialect.delimiter) == width - 1
        if num_quotes % 2 == 0:
            if num_lines > 1 and width > 1:
                num_blocks += 1
                if are_rows:
                    found.append(f"{path}:{number - num_lines + 1}-{number}")
            num_lines, num_quotes, are_rows = 0, 0, True
    return found if 2 * len(found) > num_blocks else []


# A field without quotes, or a quoted field in which quotes are doubled.
_FIELD = r'(?:[^"\t\r\n][^\t\r\n"]*|"[^"]*(?:""[^"]*)*"|)'
_RECORD = re.compile(rf"{_FIELD}(?:\t{_FIELD})*\r?\n?")


def _quotes_are_text(text: Iterator[str], width: int) -> bool:
    """Whether quotes in tab-delimited text are ordinary characters: one of them cannot begin or end
    a quoted field, or a quoted field would span lines that each have the fields of a row."""
    header = next((line for line in text if line.strip()), "")
    names = header.removeprefix(BYTE_ORDER_MARK).rstrip("\r\n").split("\t")
    if all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        return False
    block: list[str] = []
    num_characters = num_quotes = 0
    for line in chain([header], text):
        if not block and '"' not in line:
            continue
        block.append(line)
        num_characters += len(line)
        num_quotes += line.count('"')
        if num_quotes % 2 == 0:
            are_rows = len(block) > 1 and all(each.count("\t") == width - 1 for each in block)
            if are_rows or not _RECORD.fullmatch("".join(block)):
                return True
            block, num_characters = [], 0
        elif num_characters > MAX_QUOTED_CHARACTERS:
            return True
    return bool(block)


def _text(path: Path, encoding: str | None, bad: list[UserError]) -> Iterator[str]:
    """The lines. The error for a line that cannot be decoded is appended to `bad`; its text has
    replacement characters, so that the next row can be found."""
    for _, text, error in lines(path, encoding):
        if error is not None:
            bad.append(error)
        yield text


def _records(
    text: Iterator[str], dialect: Dialect, path: Path
) -> Iterator[tuple[int, list[list[str] | UserError]]]:
    """(number of the first line, fields of each record), for one line or, because of line breaks in
    quotes, for several. There is one record, without fields if the line is blank; more only if a
    carriage return alone ends a record, as it does for pandas and Excel.

    A record with text after a closing quote is replaced by the error, and reading continues with
    the next line. Raises UserError for a quote that is never closed.
    """
    before = dialect.header_line - 1
    number, is_split = before, False

    def pieces() -> Iterator[str]:
        nonlocal number, is_split
        for line in islice(text, before, None):
            *cut, rest = _pieces(line)
            number, is_split = number + 1, True
            yield from cut
            is_split = False
            yield rest

    if dialect.quotes_are_text:
        for number, line in enumerate(islice(text, before, None), before + 1):
            fields = line.rstrip("\r\n").split(dialect.delimiter) if line.strip() else []
            yield number, [fields]
        return
    reader = csv.reader(pieces(), delimiter=dialect.delimiter, strict=True)
    start, records = before + 1, []
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = printable(str(error).partition(" - ")[0])  # advice on Python follows the dash
            record = UserError(
                f"{path}:{start}: {what}, in the row from here to line {number}; "
                "close each quote, and double those inside a field"
            )
            if TEXT_AFTER_QUOTE not in what:
                raise record from None
        records.append(record)
        if not is_split:
            yield start, records
            start, records = number + 1, []


def _pieces(line: str) -> list[str]:
    """The line, split after each carriage return that is not part of its line ending."""
    text = line.rstrip("\r\n")
    if "\r" not in text:
        return [line]
    *cut, rest = text.split("\r")
    return [*(f"{piece}\r" for piece in cut), rest + line[len(text) :]]


def check_names(names: list[str], where: str) -> None:
    """Raise UserError if two columns have the same name."""
    twins = [name for name, count in Counter(names).items() if name and count > 1]
    if twins:
        raise UserError(f"{where}: two columns are named {printable(twins[0])}; rename one of them")


def _row_of(
    fields: list[str], header: list[str], names: list[str], where: str
) -> dict[str, str] | UserError:
    if _is_header(fields, header, names):
        return _repeated_header(where)
    return _fit(fields, header, where)


def _split_by_carriage_return(where: str) -> UserError:
    return UserError(
        f"{where}: a carriage return splits the row in two; delete it, or quote the field that "
        "holds it"
    )


def _is_header(fields: list[str], header: list[str], names: list[str]) -> bool:
    """Whether a row is the header of a file that was appended to this one."""
    if fields[0] in header and (fields == header or sorted(fields) == names):
        return True
    return f"{BYTE_ORDER_MARK}{header[0]}" in fields[-1] or (
        len(fields) > len(header) and any(BYTE_ORDER_MARK in field for field in fields)
    )


def _repeated_header(where: str) -> UserError:
    return UserError(
        f"{where}: a second header: files were joined here; delete this line, or the byte order "
        "mark in it"
    )


def _fit(fields: list[str], header: list[str], where: str) -> dict[str, str] | UserError:
    """The row by column. Extra fields at its end must be empty; missing fields must be unnamed in
    the header."""
    width = len(header)
    if len(fields) == width:
        return dict(zip(header, fields, strict=True))
    if not any(fields[width:]) and not any(header[len(fields) :]):
        return dict(zip(header, fields, strict=False))
    advice = "quote fields that hold the delimiter"
    if len(fields) == width + 1 and fields[0].strip().isdigit():
        advice += "; if the first field is R's row name, write with row.names=FALSE"
    count = f"{len(fields)} field{'s' if len(fields) != 1 else ''}"
    return UserError(f"{where}: {count}, but the header has {width}; {advice}")
