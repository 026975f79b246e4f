"""Report on encoding: the outcome of each row, and counts of rows and tokens."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from datasets import Dataset, concatenate_datasets

from llmkit.data.text_records import TextRecords
from llmkit.errors import UserError

INVALID = "invalid"  # outcome of a row that cannot be read


class RowRecords:
    """A record for each row read, with the columns of `llmkit.data.row_records.RECORD`."""

    def __init__(self, table: Dataset) -> None:
        self.table = table

    @classmethod
    def join(cls, parts: "Sequence[RowRecords]") -> "RowRecords":
        """Concatenate the records of several parts."""
        return cls(concatenate_datasets([part.table for part in parts]))

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> np.ndarray:
        return self.table.data.column(name).to_numpy()

    def has_outcome(self, outcome: str) -> np.ndarray:
        """Whether each row has the outcome, (num_rows,)."""
        return self.column("outcome") == outcome

    def count_outcomes(self) -> Counter[str]:
        return Counter(self.table["outcome"][:])

    def notes(self) -> dict[int, str]:
        """Notes by row index."""
        notes = self.column("note")
        return {index: notes[index] for index in np.flatnonzero(notes != "").tolist()}

    def locations_at(self, indices: np.ndarray) -> list[str]:
        return self.table.data.column("where").take(indices).to_pylist()


@dataclass(frozen=True)
class EncodingReport:
    """Counts of rows by outcome and of tokens by use. Each row read has exactly one outcome, and
    each token read exactly one use. End-of-text counts as a token of its row."""

    records: RowRecords | TextRecords

    @property
    def num_rows(self) -> int:
        return len(self.records)

    @cached_property
    def outcomes(self) -> Counter[str]:
        """Number of rows by outcome."""
        return self.records.count_outcomes()

    @cached_property
    def is_encoded(self) -> np.ndarray:
        """Whether each row has supervised tokens, (num_rows,); the others are left out."""
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
        outcomes = [outcome for outcome in self.outcomes if outcome != "whole"]
        masks = {outcome: self.records.has_outcome(outcome) for outcome in outcomes}
        # Only end-of-text is supervised.
        masks["unanswerable"] = (self.column("completion_tokens") == 1) & (
            self.column("supervised_tokens") == 1
        )
        masks["end-of-text typed"] = self.column("has_end_of_text")
        masks["over-tokenized"] = self.column("is_over_tokenized")
        masks["input empty"] = self.column("has_empty_input") & self.is_encoded
        rows = {problem: self.locations(mask) for problem, mask in masks.items() if mask.any()}
        return rows | self._rows_with_notes()

    def _rows_with_notes(self) -> dict[str, list[str]]:
        """The problem of each invalid row, and the locations of rows with ignored fields."""
        notes, is_invalid = self.records.notes(), self.records.has_outcome(INVALID)
        with_fields = [index for index in notes if not is_invalid[index]]
        fields = zip(self.locations_at(np.array(with_fields, int)), with_fields, strict=True)
        noted = {
            INVALID: [note for index, note in notes.items() if is_invalid[index]],
            "fields ignored": [f"{where} ({notes[index]})" for where, index in fields],
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
        return self.records.column(name)

    def locations(self, mask: np.ndarray) -> list[str]:
        """Locations (file:line) of the rows that a mask (num_rows,) selects."""
        return self.locations_at(np.flatnonzero(mask))

    def locations_at(self, indices: np.ndarray) -> list[str]:
        return self.records.locations_at(indices)

    def require_supervised(self, max_length: int, truncate_completion: bool) -> None:
        """Raise UserError if no token is left to train on.

        max_length, truncate_completion: Options that the rows were encoded with, for advice.
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
        first = self.locations_at(np.array([0]))[0]
        raise UserError(f"{first} and following: no row is left to train on ({reasons}); {advice}")


def join_reports(reports: Sequence[EncodingReport]) -> EncodingReport:
    """Join the reports on several sets, in order."""
    records = [report.records for report in reports]
    return EncodingReport(type(records[0]).join(records))
