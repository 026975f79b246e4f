"""A report on encoding: the outcome of each row, and counts of rows and tokens."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from datasets import Dataset

from llmkit.errors import UserError

INVALID = "invalid"  # outcome of a row that cannot be read


@dataclass(frozen=True)
class EncodingReport:
    """Counts of rows and tokens that add up: each row read has one outcome, each token read one
    use. End-of-text counts as a token of its row."""

    records: Dataset
    """A record for each row read, of the columns `llmkit.data.encode.RECORD`."""

    @property
    def num_rows(self) -> int:
        return len(self.records)

    @cached_property
    def outcomes(self) -> Counter[str]:
        """Number of rows by outcome."""
        return Counter(self.records["outcome"][:])

    @cached_property
    def is_encoded(self) -> np.ndarray:
        """Whether each row has supervised tokens; the others are left out. Shape (num_rows,)."""
        return self.column("supervised_tokens") > 0

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Number of tokens by use: `supervised`, `prompt`, `truncated`, and `left out` with their
        rows."""
        prompt, supervised = self.column("kept_prompt_tokens"), self.column("supervised_tokens")
        read = self.column("prompt_tokens") + self.column("completion_tokens")
        return {
            "supervised": int(supervised.sum()),
            "prompt": int(prompt.sum()),
            "truncated": int((read - prompt - supervised)[self.is_encoded].sum()),
            "left out": int(read[~self.is_encoded].sum()),
        }

    @cached_property
    def rows_by_problem(self) -> dict[str, list[str]]:
        """Locations (file:line) of the rows with a problem: an outcome other than `whole`, or
        another kind of `llmkit.data.findings.KINDS`."""
        outcomes = np.array(self.records["outcome"][:])
        masks = {outcome: outcomes == outcome for outcome in self.outcomes if outcome != "whole"}
        # Only end-of-text is supervised.
        masks["unanswerable"] = (self.column("completion_tokens") == 1) & (
            self.column("supervised_tokens") == 1
        )
        masks["end-of-text typed"] = self.column("has_end_of_text")
        masks["over-tokenized"] = self.column("is_over_tokenized")
        masks["input empty"] = self.column("has_empty_input") & self.is_encoded
        rows = {problem: self.locations(mask) for problem, mask in masks.items() if mask.any()}
        return rows | self._rows_with_notes(outcomes == INVALID)

    def _rows_with_notes(self, is_invalid: np.ndarray) -> dict[str, list[str]]:
        """The problem of each invalid row, and the locations of rows with ignored fields."""
        notes = np.array(self.records["note"][:], dtype=object)
        has_fields = (notes != "") & ~is_invalid
        fields = zip(self.locations(has_fields), notes[has_fields], strict=True)
        noted = {
            INVALID: list(notes[is_invalid]),
            "fields ignored": [f"{where} ({names})" for where, names in fields],
        }
        return {problem: rows for problem, rows in noted.items() if rows}

    @property
    def num_tokens(self) -> int:
        return sum(self.tokens.values())

    @property
    def supervised_share(self) -> float:
        """Share of supervised tokens among those that the model sees."""
        num_seen = self.tokens["supervised"] + self.tokens["prompt"]
        return self.tokens["supervised"] / num_seen if num_seen else 0.0

    def column(self, name: str) -> np.ndarray:
        return self.records.data.column(name).to_numpy()

    def locations(self, mask: np.ndarray) -> list[str]:
        """Locations (file:line) of the rows that a mask of shape (num_rows,) picks."""
        return self.locations_at(np.flatnonzero(mask))

    def locations_at(self, indices: np.ndarray) -> list[str]:
        return self.records.data.column("where").take(indices).to_pylist()

    def require_supervised(self, max_length: int, truncate_completion: bool) -> None:
        """Raise UserError if no token is left to train on.

        max_length, truncate_completion: the options that the rows were encoded with, for advice.
        """
        if self.tokens["supervised"]:
            return
        reasons = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        advice = "fix the rows"
        if self.outcomes["completion too long"] and not truncate_completion:
            advice = (
                f"raise data.max_length={max_length}, shorten the template, or set "
                "data.truncate_completion=true"
            )
        first = self.records[0]["where"]
        raise UserError(
            f"{first} and following: no row is left to learn from ({reasons}); {advice}"
        )
