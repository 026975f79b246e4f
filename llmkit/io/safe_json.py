"""Writing standard JSON, in files that are complete or absent."""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmkit.io.atomic import write_text

# What json.dumps does not escape: controls from U+007F, and line and paragraph separators.
CONTROL = re.compile("[\x7f-\x9f\u2028\u2029]")


def to_json(content: Any, **options: Any) -> str:
    """Encode as standard JSON: numbers that are not finite become null.

    All control characters and separators of lines are escaped, also those that JSON allows but that
    a terminal obeys or a reader takes for a line break.

    options: Arguments of json.dumps.
    """
    try:
        text = json.dumps(content, allow_nan=False, **options)
    except ValueError:
        text = json.dumps(_without_nan(content), allow_nan=False, **options)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _without_nan(content: Any) -> Any:
    match content:
        case float():
            return content if math.isfinite(content) else None
        case dict():
            return {key: _without_nan(value) for key, value in content.items()}
        case list() | tuple():
            return [_without_nan(value) for value in content]
    return content


def write_json(path: Path, content: Any) -> None:
    write_text(path, to_json(content, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(to_json(row, ensure_ascii=False) + "\n" for row in rows))
