"""Labels of classification: one canonical form for each label, however it is written.

Spreadsheets, JSON, pandas and other tools write the same label as "1", 1 or 1.0, with spaces
around it or a byte order mark before it. `label_of` alone decides which label a value is; rows,
predictions and probabilities all use it.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

SUM_TOLERANCE = 0.01  # of the sum of rounded probabilities
# Zero-width characters, direction marks, byte order mark, soft hyphen and controls.
_INVISIBLE = "\u200b-\u200f\u2060\ufeff\u00ad\x00-\x1f\x7f-\x9f"
_EDGES = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_INTEGRAL = re.compile(r"(-?\d+)\.0+")  # how pandas writes integers in a column with missing values
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def label_of(value: Any) -> str:
    """The label of a value; "" if there is none.

    Raises ValueError, worded to follow the name of a column, for a value that is not one label.
    """
    text = _EDGES.sub("", label_text(value))
    integral = _INTEGRAL.fullmatch(text)
    return integral[1] if integral else text


def label_text(value: Any) -> str:
    """A label as it is spelled in the data; "" for None and NaN.

    Raises ValueError as `label_of` does.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        (value,) = value
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int | float):  # and bool
        return str(value)
    if isinstance(value, list | tuple):
        raise ValueError(
            f"must hold one label, not a list of {len(value)}: keep one label per row, or train "
            "one classifier per label"
        )
    raise ValueError(f"must hold a label, not {type(value).__name__}")


def probabilities_of(value: Any) -> dict[str, float]:
    """Probabilities by label, of all labels or only of the most likely ones.

    Raises ValueError, worded to follow the name of a column, for any other value.
    """
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be numbers from 0 to 1, by label")
    probabilities: dict[str, float] = {}
    for key, number in value.items():
        label = label_of(key)
        if number is None:  # parquet has a null for each label that a row lacks
            continue
        if label in probabilities:
            raise ValueError(f"must name the label {label!r} once")
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number <= 1 + SUM_TOLERANCE:
            raise ValueError(f"must be numbers from 0 to 1, by label; {label!r} has {number!r}")
        probabilities[label] = float(number)
    if sum(probabilities.values()) > 1 + SUM_TOLERANCE:
        raise ValueError(f"must add up to 1, not {sum(probabilities.values()):.4g}")
    return probabilities


def every_probability(
    probabilities: Mapping[str, float] | None, labels: Iterable[str]
) -> list[float]:
    """The probability of each label; NaN for a missing label, or 0 if the others add up to 1."""
    probabilities = probabilities or {}
    missing = 0.0 if sum(probabilities.values()) > 1 - 1e-6 else math.nan
    return [probabilities.get(label, missing) for label in labels]


def ratings_of(labels: Iterable[str]) -> dict[str, float] | None:
    """The number of each label if there are three or more, all of them numbers; else None.

    Two labels, such as 0 and 1, are classes, not a scale.
    """
    numbers = {label: number_of(label) for label in labels}
    return None if len(numbers) < 3 or None in numbers.values() else numbers


def number_of(label: str) -> float | None:
    """The value of a label that is a number; None for other labels."""
    return float(label) if _NUMBER.fullmatch(label) else None


def folded(spelling: str) -> str:
    """A label without differences of case, spacing, Unicode form and invisible characters."""
    visible = [c for c in spelling if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc")]
    return " ".join(unicodedata.normalize("NFKC", "".join(visible)).casefold().split())


def spelled_out(label: str) -> str:
    """A label for a message, with invisible characters escaped."""
    is_plain = label.isprintable() and unicodedata.is_normalized("NFC", label)
    return repr(label) if is_plain else ascii(label)
