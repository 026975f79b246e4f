"""The one exception for mistakes that the user can mend."""

import difflib


class UserError(Exception):
    """What is wrong, where (file:line or key), and what to do: one line each, exit code 2."""


def did_you_mean(word: str, choices: list[str]) -> str:
    """`; did you mean X?`, or nothing when no choice is near."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
