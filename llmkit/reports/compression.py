"""The table of a run's model and its quantized or pruned versions: in the terminal, and in a model
card."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from llmkit.reports.tables import difference_cell, markdown_table, score_cell, speed_cell
from llmkit.runtime.console import show_table
from llmkit.scoring.significance import Difference
from llmkit.scoring.verdict import title_of
from llmkit.units import show_bytes

NUM_PROMPTS = 8  # prompts whose completions are timed: one at a time, and as one batch
NOTE = (
    "difference: from the first line, paired by rows; with 95% intervals\n"
    "tokens/s: generated, one prompt at a time; "
    f"batch of {NUM_PROMPTS}: the same for {NUM_PROMPTS} prompts at once"
)


@dataclass(frozen=True)
class ModelFigures:
    """Size, deciding score and speed of a run's model, or of a quantized or pruned version."""

    name: str
    num_bytes: int
    """Size of its weight files."""
    num_weights: int
    """Weights that are not 0."""
    score: float | None
    """The deciding score; None if it is undefined on the rows."""
    interval: tuple[float, float] | None
    change: Difference | None
    """Its score minus that of the first model, paired by rows; None for the first."""
    tokens_per_second: float
    """Generated tokens per second, one prompt at a time."""
    batch_tokens_per_second: float
    """The same for NUM_PROMPTS prompts at once."""


def header(metric: str) -> list[str]:
    """The names of the columns. metric: The deciding score."""
    speeds = ["tokens/s", f"batch of {NUM_PROMPTS}"]
    return ["", "weights", "size", title_of(metric), "difference", *speeds]


def line(figures: ModelFigures) -> list[str]:
    """The cells of a model."""
    return [
        figures.name,
        f"{figures.num_weights:,}",
        show_bytes(figures.num_bytes),
        score_cell(figures.score, figures.interval),
        difference_cell(figures.change),
        speed_cell(figures.tokens_per_second),
        speed_cell(figures.batch_tokens_per_second),
    ]


def show_models(
    console: Console, metric: str, num_rows: int, groups: Sequence[Sequence[ModelFigures]]
) -> None:
    """Print the table, with a rule after each group of lines."""
    console.print(f"\n{num_rows:,} test rows")
    show_table(console, header(metric), [[line(each) for each in group] for group in groups])
    console.print(NOTE, style="dim")


def models_table(metric: str, models: Sequence[ModelFigures]) -> str:
    """The table in Markdown."""
    return markdown_table(header(metric), map(line, models))
