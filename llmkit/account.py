"""What became of the rows and tokens that were read: counts that add up, and the odd rows."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from llmkit.model import END_OF_TEXT
from llmkit.tasks import Example

SHATTERED = 0.8  # tokens per character; English has about 0.25 with GPT-2's tokenizer
MIN_CHARACTERS = 20  # fewer say nothing about a language


@dataclass
class Account:
    """Rows read = whole + shortened + cut + left out; tokens read = trained + prompt + cut + left
    out. End-of-text counts as a token of its row."""

    fates: Counter[str] = field(default_factory=Counter)
    """Rows by what was done to them (`Encoded.fate`)."""
    tokens: Counter[str] = field(default_factory=Counter)
    """`trained`, `prompt`, `cut`, and `left out` with their rows."""
    odd_rows: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Where (file:line) the rows of a kind stand: by their fate, or by what their text holds."""

    @property
    def num_rows(self) -> int:
        return sum(self.fates.values())

    @property
    def num_tokens(self) -> int:
        return sum(self.tokens.values())

    def add(self, example: Example, fate: str, *, read: int, prompt: int, trained: int) -> None:
        """Count a row; read, prompt, trained: its tokens, what is kept of them and learnt."""
        self.fates[fate] += 1
        if trained:
            self.tokens.update(trained=trained, prompt=prompt, cut=read - prompt - trained)
        else:
            self.tokens["left out"] += read
        if fate != "whole":
            self.odd_rows[fate].append(example.where)
        text = example.prompt_text + example.completion
        if END_OF_TEXT in text:
            self.odd_rows["end-of-text typed"].append(example.where)
        if len(text) >= MIN_CHARACTERS and read > SHATTERED * len(text):
            self.odd_rows["shattered"].append(example.where)

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.fates, "tokens": self.tokens, "odd_rows": self.odd_rows}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Account":
        return cls(
            Counter(content["rows"]),
            Counter(content["tokens"]),
            defaultdict(list, content["odd_rows"]),
        )
