"""The exceptions whose message is all that a user needs, and parts of messages."""

import difflib
from collections.abc import Mapping


class UserError(Exception):
    """A user's mistake: what is wrong, where (file:line or key), and what to do, one line each.

    The command ends with exit code 2.
    """


class OutOfMemory(MemoryError):
    """Memory ran out: during what, and what to do, in one line. The command ends with exit code 1.

    `changes` are keys of the recipe to change when a run is resumed, with a placeholder for the
    value.
    """

    def __init__(self, message: str, changes: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.changes = dict(changes or {})


def printable(text: str, longest: int = 300) -> str:
    """Text from a file for a message: short, on one line, control characters escaped."""
    short = text if len(text) <= longest else f"{text[:longest]} ..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def count_of(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`, `2 batches`."""
    ending = "es" if noun.endswith(("ch", "s")) else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


NUM_NAMED = 5


def first_few(places: list[str]) -> str:
    """The first few places, and the number of further ones."""
    num_more = len(places) - NUM_NAMED
    return ", ".join(places[:NUM_NAMED]) + (f" and {num_more:,} more" if num_more > 0 else "")


def did_you_mean(word: str, choices: list[str]) -> str:
    """`; did you mean X?`, or an empty text if no choice is similar. A single choice that starts
    with the word is meant: `acc` is short for accuracy, and not a misspelt auc."""
    longer = [choice for choice in choices if choice.startswith(word)] if len(word) > 2 else []
    similar = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    near = longer if len(longer) == 1 else similar
    return f"; did you mean {near[0]}?" if near else ""
