"""What became of the rows and tokens that were read: a record a row, and counts that add up."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value

from llmkit.constants import END_OF_TEXT
from llmkit.errors import UserError
from llmkit.tasks import Example

RECORD = Features(
    {
        "where": Value("string"),  # file:line of the row
        "outcome": Value("string"),  # what was done to it, `Encoded.outcome`
        # Tokens as read, end-of-text being one of the completion's; and what is kept of them.
        "prompt": Value("int64"),
        "completion": Value("int64"),
        "prompt_kept": Value("int64"),
        "trained": Value("int64"),
        "has_end_of_text": Value("bool"),  # typed in a text
        "is_over_tokenized": Value("bool"),  # a text in it is
        "has_empty_input": Value("bool"),  # an input text is empty
        "note": Value("string"),  # ignored fields, or what is wrong with an invalid row
        # By these copies are known; 0 for a row that is left out.
        "digest": Value("int64"),  # of prompt and completion
        "source_digest": Value("int64"),  # of the source alone
    }
)
INVALID = "invalid"  # outcome of a row that cannot be read
MAX_TOKENS_PER_CHARACTER = (
    0.8  # tokens per character; English has about 0.25 with GPT-2's tokenizer
)
MIN_CHARACTERS = 20  # fewer say nothing about a language


@dataclass(frozen=True)
class EncodingReport:
    """Rows read = whole + shortened + cut + left out; tokens read = trained + prompt + cut + left
    out. End-of-text counts as a token of its row."""

    records: Dataset
    """A RECORD for each row read."""

    @property
    def num_rows(self) -> int:
        return len(self.records)

    @cached_property
    def outcomes(self) -> Counter[str]:
        """Rows by what was done to them."""
        return Counter(self.records["outcome"][:])

    @cached_property
    def tokens(self) -> dict[str, int]:
        """By use: `trained`, `prompt`, `cut`, and `left out` with their rows."""
        kept, trained = self.column("prompt_kept"), self.column("trained")
        read = self.column("prompt") + self.column("completion")
        is_supervised = trained > 0
        return {
            "trained": int(trained.sum()),
            "prompt": int(kept.sum()),
            "cut": int((read - kept - trained)[is_supervised].sum()),
            "left out": int(read[~is_supervised].sum()),
        }

    @cached_property
    def rows_by_problem(self) -> dict[str, list[str]]:
        """Locations (file:line) of the rows with a problem, by problem: an outcome, or another."""
        outcomes = np.array(self.records["outcome"][:])
        masks = {outcome: outcomes == outcome for outcome in self.outcomes if outcome != "whole"}
        # Only end-of-text is supervised.
        masks["unanswerable"] = (self.column("completion") == 1) & (self.column("trained") == 1)
        masks["end-of-text typed"] = self.column("has_end_of_text")
        masks["shattered"] = self.column("is_over_tokenized")
        masks["input empty"] = self.column("has_empty_input") & (self.column("trained") > 0)
        odd = {kind: self.places(mask) for kind, mask in masks.items() if mask.any()}
        return odd | self._noted_rows(outcomes == INVALID)

    def _noted_rows(self, is_invalid: np.ndarray) -> dict[str, list[str]]:
        """Rows with a note: what is wrong with an invalid row, or which fields are ignored."""
        notes = np.array(self.records["note"][:], dtype=object)
        has_fields = (notes != "") & ~is_invalid
        fields = zip(self.places(has_fields), notes[has_fields], strict=True)
        noted = {
            INVALID: list(notes[is_invalid]),
            "fields ignored": [f"{where} ({names})" for where, names in fields],
        }
        return {kind: rows for kind, rows in noted.items() if rows}

    @property
    def num_tokens(self) -> int:
        return sum(self.tokens.values())

    @property
    def supervised_share(self) -> float:
        """Share of the tokens kept that are trained on."""
        kept = self.tokens["trained"] + self.tokens["prompt"]
        return self.tokens["trained"] / kept if kept else 0.0

    def column(self, name: str) -> np.ndarray:
        return self.records.data.column(name).to_numpy()

    def places(self, mask: np.ndarray) -> list[str]:
        """Where the rows stand that a mask (num_rows,) picks."""
        return self.locations_at(np.flatnonzero(mask))

    def locations_at(self, indices: np.ndarray) -> list[str]:
        return self.records.data.column("where").take(indices).to_pylist()


def row_record(
    example: Example,
    ids: list[list[int]],
    outcome: str,
    kept: list[list[int]],
    completion_kept: int,
) -> dict[str, Any]:
    """A row's record; ids: the tokens of its prompt segments and of its completion; kept: what is
    left of the prompt's, nothing for a row that is left out."""
    *prompt_ids, completion = ids
    learnt = [index for index, segment in enumerate(example.prompt) if segment.is_supervised]
    answers = sum(len(prompt_ids[index]) for index in learnt)
    answers_kept = sum(len(kept[index]) for index in learnt) if kept else 0
    trained = completion_kept + answers_kept
    prompt_text = example.prompt_text
    texts = [*(segment.text for segment in example.prompt), example.completion]
    sources = (s.text for s in example.prompt if s.is_truncatable or s.turn is not None)
    source = "".join(sources) or example.completion
    return {
        "where": example.where,
        "outcome": outcome,
        "prompt": sum(map(len, prompt_ids)) - answers,
        "completion": len(completion) + 1 + answers,
        "prompt_kept": sum(map(len, kept)) - answers_kept,
        "trained": trained,
        "has_end_of_text": END_OF_TEXT in prompt_text + example.completion,
        "is_over_tokenized": any(map(is_over_tokenized, texts, ids)),
        "has_empty_input": any(s.is_from_row and not s.text.strip() for s in example.prompt),
        "note": ", ".join(example.ignored),
        "digest": digest(f"{prompt_text}\0{example.completion.strip()}") if trained else 0,
        "source_digest": digest(source.strip()) if trained else 0,
    }


def invalid_row_record(error: UserError) -> dict[str, Any]:
    """The record of a row that cannot be read."""
    numbers = dict.fromkeys(
        ("prompt", "completion", "prompt_kept", "trained", "digest", "source_digest"), 0
    )
    flags = dict.fromkeys(("has_end_of_text", "is_over_tokenized", "has_empty_input"), False)
    where = str(error).partition(": ")[0]
    return {"where": where, "outcome": INVALID, "note": str(error), **numbers, **flags}


def is_over_tokenized(text: str, ids: list[int]) -> bool:
    return len(text) >= MIN_CHARACTERS and len(ids) > MAX_TOKENS_PER_CHARACTER * len(text)


def digest(text: str) -> int:
    """64 bits that tell a text from all others."""
    code = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(code, "big", signed=True)
