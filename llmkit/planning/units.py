"""Parse durations and sizes; `show_seconds` and `show_bytes` of llmkit/errors.py format them."""

import math
import re

from llmkit.errors import UserError, printable

SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
BYTES = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"


def parse_duration(text: str, given_by: str = "--budget") -> float:
    """Parse a duration such as 90s, 45m, 3h, 1h30m or 2d into seconds.

    Raises UserError unless it is a positive duration with units.
    """
    units = "|".join(sorted(SECONDS, key=len, reverse=True))
    compact = text.strip().lower().replace(" ", "")
    if re.fullmatch(f"(?:{NUMBER}(?:{units}))+", compact):
        parts = re.findall(f"{NUMBER}({units})", compact)
        seconds = sum(float(number) * SECONDS[unit] for number, unit in parts)
        if 0 < seconds < math.inf:
            return seconds
    raise UserError(
        f"{given_by}: {printable(text)!r} is not a positive duration in s, m, h or d; write 90s, "
        "45m, 3h or 1h30m"
    )


def parse_bytes(text: str, given_by: str = "--memory") -> int:
    """Parse a size such as 16GB, 512MB or 24GiB into bytes; the B may be missing.

    Raises UserError unless it is a positive size with a unit.
    """
    found = re.fullmatch(rf"{NUMBER}\s*([MGT]I?)B?", text.strip().upper())
    if found:
        num_bytes = float(found[1]) * BYTES[f"{found[2]}B"]
        if 1 <= num_bytes < 1e18:
            return int(num_bytes)
    raise UserError(
        f"{given_by}: {printable(text)!r} is not a positive size in MB, GB or TB; write 16GB, "
        "512MB or 24GiB"
    )
