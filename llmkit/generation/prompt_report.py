"""A report on the prompts of a file: counts and problems, found before generation starts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from llmkit.errors import NUM_NAMED, printable
from llmkit.generation.prompts import RESULT_COLUMN, EncodedPrompt

MIN_MERGED_IDS = 2**16


class RowLocations:
    """The number of rows with a problem, and the locations of the first few."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, place: str) -> None:
        self.count += 1
        if len(self.first) < NUM_NAMED:
            self.first.append(place)

    def __str__(self) -> str:
        num_more = self.count - len(self.first)
        return ", ".join(self.first) + (f" and {num_more:,} more" if num_more else "")


class SeenIds:
    """A set of ids in little memory: it stores 64-bit hashes, most of them in a sorted array."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._older = np.zeros(0, np.int64)  # sorted

    def add(self, id: str) -> bool:
        """Add an id; return whether it is new."""
        key = hash(id)
        index = np.searchsorted(self._older, key)
        if key in self._recent or (index < len(self._older) and self._older[index] == key):
            return False
        self._recent.add(key)
        if len(self._recent) >= max(MIN_MERGED_IDS, len(self._older) // 8):
            recent = np.fromiter(self._recent, np.int64, len(self._recent))
            self._older = np.sort(np.concatenate([self._older, recent]))
            self._recent.clear()
        return True


@dataclass
class PromptReport:
    """Counts and problems of all prompts of a file."""

    num_rows: int = 0
    left_out: RowLocations = field(default_factory=RowLocations)
    """Errors of the rows that were skipped."""
    columns: dict[str, None] = field(default_factory=dict)
    """Names of the input columns, in order (the values are unused)."""
    empty: RowLocations = field(default_factory=RowLocations)
    """Rows without text."""
    blank_endings: RowLocations = field(default_factory=RowLocations)
    """Prompts that end with a space or tab."""
    num_truncated: int = 0
    uses_template: bool = False
    """Whether the template was used for any prompt."""
    has_references: bool = False
    ids: SeenIds = field(default_factory=SeenIds)
    repeated_ids: RowLocations = field(default_factory=RowLocations)
    """Rows with the id of an earlier row."""

    def add(self, encoded: EncodedPrompt) -> None:
        prompt = encoded.prompt
        self.num_rows += 1
        self.num_truncated += encoded.is_truncated
        self.uses_template |= any(segment.is_from_row for segment in prompt.segments)
        self.has_references |= prompt.references is not None
        self.columns |= dict.fromkeys(prompt.columns)
        if not prompt.has_text:
            self.empty.add(prompt.where)
        if prompt.text.endswith((" ", "\t")):
            self.blank_endings.add(prompt.where)
        if not self.ids.add(str(prompt.id)):
            self.repeated_ids.add(prompt.where)

    def warnings(self) -> Iterator[str]:
        """A warning for each kind of problem."""
        if self.left_out.count:
            yield (
                f"{_count(self.left_out, 'row has', 'rows have')} no prediction, because "
                f"data.skip_invalid skips invalid rows: {self.left_out}"
            )
        if self.blank_endings.count:
            yield (
                f"{_count(self.blank_endings, 'prompt ends', 'prompts end')} with a space or tab, "
                "which the tokenizer separates from the next word; remove it for better "
                "completions: "
                f"{self.blank_endings}"
            )
        if self.empty.count:
            yield (
                f"{_count(self.empty, 'row has', 'rows have')} no text, so "
                f"{'its prediction is' if self.empty.count == 1 else 'their predictions are'} "
                f"meaningless: {self.empty}"
            )
        if self.repeated_ids.count:
            yield (
                f"{_count(self.repeated_ids, 'row has', 'rows have')} the id of an earlier row; "
                "`evaluate` and `compare` will reject the predictions: "
                f"{self.repeated_ids}"
            )
        for name in filter(RESULT_COLUMN.fullmatch, self.columns):
            before = printable(name.removeprefix("input_"))
            yield f"the input's column {before!r} is written as 'input_{before}'"


def _count(places: RowLocations, one: str, several: str) -> str:
    return f"{places.count:,} {one if places.count == 1 else several}"
