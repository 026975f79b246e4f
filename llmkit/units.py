"""Parse and format durations, sizes and shares."""

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


def show_seconds(seconds: float) -> str:
    """Format a duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 2 * 1440:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02} h"


def show_bytes(num_bytes: float) -> str:
    """Format a size with three digits at most: `316 B`, `2.2 kB`, `124 kB`, `4.4 MB`, `1.23 GB`."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if num_bytes >= 0.9995 * size:
            value = num_bytes / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    unit, size = ("MB", 1e6) if num_bytes >= 0.9995e6 else ("kB", 1e3)
    return f"{num_bytes / size:.{0 if num_bytes >= 9.95 * size else 1}f} {unit}"


def show_percent(share: float, digits: int = 6) -> str:
    """Format a share as a percentage with at most `digits` digits: 0.125 as `12.5%`."""
    return f"{100 * share:.{digits}g}%"
