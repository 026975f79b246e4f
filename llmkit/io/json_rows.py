"""Rows in JSON: one per line, one list, or the layouts of pandas, `datasets` and SQuAD."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from llmkit.errors import UserError
from llmkit.io.text_lines import Line, Raw, lines, whole_text

NOT_BLANK = re.compile(r"\S")
PANDAS_ADVICE = 'in pandas, write with to_json(orient="records")'
# Columns by which an object is recognized as a row, not as a file with metadata and a list of rows.
ROW_COLUMNS = {
    "id", "text", "document", "context", "question", "query", "answers", "instruction", "prompt",
    "completion", "prediction",
}  # fmt: skip
MAX_CACHED_CHARACTERS = 2**26  # of the .json files whose parsed rows stay in memory
# A file's mtime tells two of its states apart only if this many ns lie between them.
MTIME_RESOLUTION = 2 * 10**9


def read_jsonl(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    """One row per line."""
    return _rows_by_line(lines(path, encoding), path)


def read_json(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    """The rows of a .json file, in any of these layouts: a list of rows, a mapping that holds one
    list of rows ({"data": [...]}), columns of equal length, a single row, rows one after another
    (each on one or several lines), or SQuAD's nesting of articles, paragraphs and questions.

    Parsed rows stay in memory, up to MAX_CACHED_CHARACTERS, until the file changes.
    """
    status = path.stat()
    state = (str(path), os.path.abspath(path), status.st_size, status.st_mtime_ns, encoding)
    if state in _parsed:
        yield from _parsed[state][1]
        return
    if _is_by_line(path, encoding):
        yield from read_jsonl(path, encoding)
        return
    text = whole_text(path, encoding)
    rows = list(_parse(text, path))
    if time.time_ns() - status.st_mtime_ns > MTIME_RESOLUTION:
        _parsed[state] = (len(text), rows)
        while sum(num_characters for num_characters, _ in _parsed.values()) > MAX_CACHED_CHARACTERS:
            del _parsed[next(iter(_parsed))]
    yield from rows


# State of a file -> (number of its characters, its rows); the oldest first.
_parsed: dict[tuple[Any, ...], tuple[int, list[Raw]]] = {}


def _parse(text: str, path: Path) -> Iterator[Raw]:
    """The rows of a .json file that does not hold one row per line."""
    content, end = _parse_first(text, path)
    if rest := NOT_BLANK.search(text, end):
        if not isinstance(content, dict):
            line = text.count("\n", 0, rest.start()) + 1
            raise UserError(
                f"{path}:{line}: broken JSON (more text after its end); a .json file holds one "
                "list of rows, a .jsonl file one row per line; join the lists, or fix this line"
            )
        yield from _rows_in_sequence(text, path)
        return
    rows = _rows_of(content)
    if rows is None:
        raise UserError(
            f"{path}:1: a .json file holds a list of rows; for one row per line, use .jsonl; "
            f"{PANDAS_ADVICE}"
        )
    if _are_articles(rows):
        yield from _questions_of(rows, path)
        return
    for index, row in enumerate(rows):
        where = f"{path}: row {index}"
        yield where, row if isinstance(row, dict) else _not_a_row(row, where)


def _is_by_line(path: Path, encoding: str | None) -> bool:
    """Whether the first two lines that are not blank hold an object each."""
    found = ((text, error) for _, text, error in lines(path, encoding) if text.strip())
    first_two = list(islice(found, 2))
    is_object = [error is None and text.lstrip().startswith("{") for text, error in first_two]
    if is_object != [True, True]:
        return False
    try:
        json.loads(first_two[0][0])
    except (ValueError, RecursionError):
        return False
    return True  # if the second line is broken, the error will name it


def _rows_by_line(numbered: Iterator[Line], path: Path) -> Iterator[Raw]:
    for number, line, error in numbered:
        text = line.rstrip()
        if not text:
            continue
        where = f"{path}:{number}"
        if error is not None:
            yield where, error
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as broken:
            yield where, _explain(broken, text, path, number)
        else:
            yield where, row if isinstance(row, dict) else _not_a_row(row, where)


def _parse_first(text: str, path: Path) -> tuple[Any, int]:
    """The first JSON value, and where it ends."""
    start = len(text) - len(text.lstrip())
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as broken:
        raise _explain(broken, text, path, 1) from None


def _rows_in_sequence(text: str, path: Path) -> Iterator[Raw]:
    """Objects one after another, each on several lines."""
    decoder, end, line = json.JSONDecoder(), 0, 1
    while found := NOT_BLANK.search(text, end):
        start = found.start()
        line += text.count("\n", end, start)
        where = f"{path}:{line}"
        try:
            row, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as broken:
            raise _explain(broken, text, path, 1) from None
        yield where, row if isinstance(row, dict) else _not_a_row(row, where)
        line += text.count("\n", start, end)


def _rows_of(content: Any) -> list[Any] | None:
    """The rows in the content of a .json file; None if it contains none."""
    if isinstance(content, list):
        return content
    if not isinstance(content, dict) or not content:
        return None
    if _is_row(content):
        return [content]
    values = list(content.values())
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
        return lists[0]
    if any(isinstance(value, str | int | float) for value in values):
        return [content]
    rows = _rows_of_columns(content)
    return [content] if rows is None and content.keys() == {"translation"} else rows


def _is_row(content: dict[str, Any]) -> bool:
    """Whether the keys of an object show that it is a row, although it may hold lists of
    objects."""
    values = content.values()
    if any(map(_are_messages, values)):
        return True
    names = {name.strip().lower() for name in content}
    has_text = any(isinstance(value, str) for value in values)
    return has_text and "data" not in names and not names.isdisjoint(ROW_COLUMNS)


def _are_messages(value: Any) -> bool:
    """Whether a value is a conversation in OpenAI's or ShareGPT's format."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and (
        {"role", "content"} <= first.keys() or {"from", "value"} <= first.keys()
    )


def _are_articles(rows: list[Any]) -> bool:
    """Whether these are the articles of a file in SQuAD's format, whose paragraphs hold the
    questions."""
    if not all(isinstance(row, dict) and isinstance(row.get("paragraphs"), list) for row in rows):
        return False
    paragraphs = chain.from_iterable(row["paragraphs"] for row in rows)
    return any(isinstance(paragraph, dict) and "qas" in paragraph for paragraph in paragraphs)


def _questions_of(articles: list[Any], path: Path) -> Iterator[Raw]:
    """A row for each question: its fields, with the title and the context added. A question with
    `is_impossible`, as in SQuAD 2.0, has no answers."""
    for number, article in enumerate(articles):
        for index, paragraph in enumerate(article["paragraphs"]):
            where = f"{path}: data[{number}].paragraphs[{index}]"
            questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(questions, list):
                yield where, UserError(f"{where}: no list `qas` of questions; fix the paragraph")
                continue
            shared = {key: of[key] for key, of in (("title", article), ("context", paragraph))
                      if key in of}  # fmt: skip
            for position, question in enumerate(questions):
                place = f"{where}.qas[{position}]"
                if not isinstance(question, dict):
                    yield place, _not_a_row(question, place)
                    continue
                row = {**shared, **question}
                yield place, {**row, "answers": []} if row.get("is_impossible") is True else row


def _rows_of_columns(columns: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Rows from columns of equal length, given as lists or, as pandas does by default, as mappings
    from row numbers to values; None for anything else."""
    if columns.keys() == {"columns", "index", "data"}:  # pandas' orient="split"
        return None
    values = list(columns.values())
    if all(isinstance(value, list) for value in values):
        are_rows = all(isinstance(each, dict) for each in chain.from_iterable(values))
        if are_rows or len({len(value) for value in values}) > 1:
            return None
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    if not all(isinstance(value, dict) for value in values) or len(set(map(tuple, values))) > 1:
        return None
    if all(name.isdigit() for name in columns):  # pandas' orient="index"
        return values
    if all(number.isdigit() for number in values[0]):
        return [{name: of[number] for name, of in columns.items()} for number in values[0]]
    return None


def _explain(error: Exception, text: str, path: Path, first_line: int) -> UserError:
    """The error for JSON text that starts at line `first_line`."""
    if isinstance(error, RecursionError):
        return UserError(f"{path}:{first_line}: JSON nested too deeply; flatten it")
    if isinstance(error, json.JSONDecodeError):
        line = first_line + error.lineno - 1
        is_other_kind = error.msg == "Extra data" or error.pos == len(text)  # .json or .jsonl
        return UserError(
            f"{path}:{line}: broken JSON at column {error.colno} ({error.msg}); fix this line"
            f"{'; .json holds one list of rows, .jsonl one row per line' if is_other_kind else ''}"
        )
    # int() rejects numbers with too many digits.
    digits = re.search(rf"\d{{{sys.int_info.str_digits_check_threshold}}}", text)
    line = first_line + (text.count("\n", 0, digits.start()) if digits else 0)
    return UserError(
        f"{path}:{line}: a number with too many digits; shorten it, or quote it as a text"
    )


def _not_a_row(value: Any, where: str) -> UserError:
    return UserError(f"{where}: a row is a JSON object with columns, not {type(value).__name__}")
