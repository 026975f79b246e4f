"""How an attribute of a person or place is described.

Every attribute has phrases that state it, sentences that state it in another order, questions
that ask for its value, and questions that ask whose value it is. {N} is the name, {v} the value,
{av} the value with its article, {his} the possessive.
"""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon import lines


@dataclass(frozen=True)
class Attribute:
    """One property, its values, and every way to state it and to ask for it."""

    name: str
    values: list[str]
    phrases: list[str]
    sentences: list[str]
    asks: list[str]
    who: list[str]


def attribute(
    name: str, values: list[str], phrases: str, sentences: str, asks: str, who: str
) -> Attribute:
    """Build an attribute from blocks of text with one wording per line."""
    return Attribute(name, values, lines(phrases), lines(sentences), lines(asks), lines(who))
