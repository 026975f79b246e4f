"""What is unusual about the prompts of a file, found before anything is generated."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from llmkit.errors import first_few, printable
from llmkit.generation.prompts import RESULT_COLUMN, EncodedPrompt


@dataclass
class PromptReport:
    """What was found in all prompts of a file before anything is generated."""

    num_rows: int = 0
    left_out: list[str] = field(default_factory=list)
    """The error of each row that is left out."""
    columns: dict[str, None] = field(default_factory=dict)
    """Names of the input's columns, in order."""
    empty: list[str] = field(default_factory=list)
    """Locations of rows without text."""
    blank_endings: list[str] = field(default_factory=list)
    """Locations of prompts that end in a space or tab."""
    num_truncated: int = 0
    uses_template: bool = False
    """Whether any prompt fills the task's template."""
    has_references: bool = False
    ids: dict[str, str] = field(default_factory=dict)
    """Location of the first row with each id."""
    repeated_ids: list[str] = field(default_factory=list)
    """Locations of rows with the id of an earlier row."""

    def add(self, encoded: EncodedPrompt) -> None:
        prompt = encoded.prompt
        self.num_rows += 1
        self.num_truncated += encoded.is_truncated
        self.uses_template |= any(segment.is_from_row for segment in prompt.segments)
        self.has_references |= prompt.references is not None
        self.columns |= dict.fromkeys(prompt.columns)
        if not prompt.has_text:
            self.empty.append(prompt.where)
        if prompt.text.endswith((" ", "\t")):
            self.blank_endings.append(prompt.where)
        if self.ids.setdefault(str(prompt.id), prompt.where) != prompt.where:
            self.repeated_ids.append(prompt.where)

    def warnings(self) -> Iterator[str]:
        """A warning for each kind of problem."""
        if self.left_out:
            yield (
                f"{_count(self.left_out, 'row has', 'rows have')} no prediction, since "
                f"data.skip_invalid leaves out invalid rows: {first_few(self.left_out)}"
            )
        if self.blank_endings:
            yield (
                f"{_count(self.blank_endings, 'prompt ends', 'prompts end')} in a space or tab, "
                "which the tokenizer separates from the next word; remove it for better "
                "completions: "
                f"{first_few(self.blank_endings)}"
            )
        if self.empty:
            yield (
                f"{_count(self.empty, 'row has', 'rows have')} no text, so "
                f"{'its prediction is' if len(self.empty) == 1 else 'their predictions are'} "
                f"meaningless: {first_few(self.empty)}"
            )
        if self.repeated_ids:
            yield (
                f"{_count(self.repeated_ids, 'row has', 'rows have')} the id of an earlier row; "
                "`evaluate` and `compare` will refuse the predictions: "
                f"{first_few(self.repeated_ids)}"
            )
        for name in filter(RESULT_COLUMN.fullmatch, self.columns):
            before = printable(name.removeprefix("input_"))
            yield f"the input's column {before!r} is written as 'input_{before}'"


def _count(locations: list[str], one: str, several: str) -> str:
    return f"{len(locations):,} {one if len(locations) == 1 else several}"
