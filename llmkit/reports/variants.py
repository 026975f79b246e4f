"""The table of a run's model and its variants: in the terminal, and in a model card."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from llmkit.reports.tables import difference_cell, markdown_table, score_cell, speed_cell
from llmkit.runtime.console import show_table
from llmkit.scoring.significance import Difference
from llmkit.scoring.verdict import title_of
from llmkit.units import show_bytes

NOTE = (
    "difference: from the first line, paired by rows; with 95% intervals\n"
    "tokens/s: generated, one prompt at a time; batch of 8: the same for 8 prompts at once"
)


@dataclass(frozen=True)
class Variant:
    """Size, deciding score and speed of a run's model, or of a variant of it."""

    name: str
    num_bytes: int
    """Size of its weight files."""
    num_weights: int
    """Weights that are not 0."""
    score: float | None
    """The deciding score; None if it is undefined on the rows."""
    interval: tuple[float, float] | None
    change: Difference | None
    """Its score minus that of the first variant, paired by rows; None for the first."""
    tokens_per_second: float
    """Generated tokens per second, one prompt at a time."""
    batch_tokens_per_second: float
    """The same for several prompts at once."""


def header(metric: str) -> list[str]:
    """The names of the columns. metric: The deciding score."""
    return ["", "weights", "size", title_of(metric), "difference", "tokens/s", "batch of 8"]


def line(variant: Variant) -> list[str]:
    """The cells of a variant."""
    return [
        variant.name,
        f"{variant.num_weights:,}",
        show_bytes(variant.num_bytes),
        score_cell(variant.score, variant.interval),
        difference_cell(variant.change),
        speed_cell(variant.tokens_per_second),
        speed_cell(variant.batch_tokens_per_second),
    ]


def show_variants(
    console: Console, metric: str, num_rows: int, groups: Sequence[Sequence[Variant]]
) -> None:
    """Print the table, with a rule after each group of lines."""
    console.print(f"\n{num_rows:,} test rows")
    show_table(console, header(metric), [[line(each) for each in group] for group in groups])
    console.print(NOTE, style="dim")


def variants_table(metric: str, variants: Sequence[Variant]) -> str:
    """The table in Markdown."""
    return markdown_table(header(metric), map(line, variants))
