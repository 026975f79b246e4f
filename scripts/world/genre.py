"""The plain-data description of a news genre."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Genre:
    """One kind of news report.

    ``facts`` holds one list of wordings per key fact; a report uses one wording of each.
    ``extra`` holds the genre's own slots; a value "text|short" also fills ``{slot_s}`` with the
    short form, which the summary uses so that it does not repeat the report word for word.
    """

    name: str
    summary: str
    openers: list[str]
    facts: list[list[str]]
    fillers: list[str]
    extra: dict[str, list[str]] = field(default_factory=dict)
