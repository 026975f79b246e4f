"""Sentences of a text, split at final punctuation. Good enough for leads and summaries in prose."""

import re


def split_sentences(text: str) -> list[str]:
    """Split a text after each full stop, exclamation or question mark that white space follows."""
    return re.split(r"(?<=[.!?])\s+", text.strip())
