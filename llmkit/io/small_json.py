"""Small JSON files from anyone, read safely."""

import json
from pathlib import Path
from typing import Any

from llmkit.units import show_bytes

MAX_JSON_BYTES = 2**22


class UnreadableJson(Exception):
    """A file is not a small JSON object; the message gives its name and the reason."""


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file of at most `max_bytes`; raises UnreadableJson for anything else."""
    try:
        if path.exists() and not path.is_file():
            raise UnreadableJson(f"{path.name} is not a regular file")
        num_bytes = path.stat().st_size
        if num_bytes > max_bytes:
            raise UnreadableJson(
                f"{path.name} has {show_bytes(num_bytes)}; at most {show_bytes(max_bytes)} are read"
            )
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UnreadableJson(f"{path.name} is missing") from None
    except OSError as error:
        raise UnreadableJson(f"{path.name} cannot be read ({error.strerror})") from None
    except RecursionError:
        raise UnreadableJson(f"{path.name} is JSON nested too deeply") from None
    except ValueError:
        raise UnreadableJson(f"{path.name} is not JSON") from None
    if not isinstance(content, dict):
        raise UnreadableJson(f"{path.name} is not a JSON object")
    return content
