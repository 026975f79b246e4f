"""Writing standard JSON, in files that are complete or absent."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmkit.io.atomic import write_text


def to_json(content: Any, **options: Any) -> str:
    """Encode as standard JSON: numbers that are not finite become null. options: Arguments of
    json.dumps."""
    try:
        return json.dumps(content, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without_nan(content), allow_nan=False, **options)


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
