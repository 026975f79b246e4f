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
    lengths: dict[str, list[int]] = field(default_factory=lambda: {"prompt": [], "completion": []})
    """Tokens of each row as read; end-of-text is one of the completion's."""
    odd_rows: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Where (file:line) the rows of a kind stand: by their fate, or by what their text holds."""

    @property
    def num_rows(self) -> int:
        return sum(self.fates.values())

    @property
    def num_tokens(self) -> int:
        return sum(self.tokens.values())

    @property
    def supervised_share(self) -> float:
        """Share of the tokens kept that are trained on."""
        return self.tokens["trained"] / (self.tokens["trained"] + self.tokens["prompt"])

    def add(
        self, example: Example, ids: list[list[int]], fate: str, *, prompt: int, trained: int
    ) -> None:
        """Count a row: the tokens of its texts, and how many are kept in the prompt and learnt."""
        read = sum(map(len, ids)) + 1  # the end-of-text
        self.lengths["prompt"].append(read - len(ids[-1]) - 1)
        self.lengths["completion"].append(len(ids[-1]) + 1)
        self.fates[fate] += 1
        if trained:
            self.tokens.update(trained=trained, prompt=prompt, cut=read - prompt - trained)
        else:
            self.tokens["left out"] += read
        if fate != "whole":
            self.odd_rows[fate].append(example.where)
        if END_OF_TEXT in example.prompt_text + example.completion:
            self.odd_rows["end-of-text typed"].append(example.where)
        texts = [*(segment.text for segment in example.prompt), example.completion]
        if any(map(is_shattered, texts, ids)):
            self.odd_rows["shattered"].append(example.where)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.fates,
            "tokens": self.tokens,
            "lengths": self.lengths,
            "odd_rows": self.odd_rows,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Account":
        return cls(
            Counter(content["rows"]),
            Counter(content["tokens"]),
            content["lengths"],
            defaultdict(list, content["odd_rows"]),
        )


def is_shattered(text: str, ids: list[int]) -> bool:
    return len(text) >= MIN_CHARACTERS and len(ids) > SHATTERED * len(text)
