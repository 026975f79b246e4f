"""The table of exports beside their model: in the terminal, and in the model card."""

from collections.abc import Sequence

from rich.console import Console

from llmkit.export.record import ExportRecord
from llmkit.export.verification import Verification
from llmkit.planning.units import show_bytes
from llmkit.runtime.console import show_table
from llmkit.scoring.verdict import title_of

NOTE = (
    "logits: largest difference, in up to 32 test rows; error: root mean square of the "
    "differences, as a share of the standard deviation; weights: the same of the layer that "
    "differs most, as a share of its weights; texts: identical completions or labels; difference: "
    "of the score, paired by rows; tokens/s: one prompt at a time"
)


def header(metric: str) -> list[str]:
    """The names of the columns."""
    compared = ["logits", "error", "weights", "texts"]
    return ["", "size", *compared, title_of(metric), "difference", "tokens/s"]


def line(name: str, figures: Verification, *, is_original: bool) -> list[str]:
    """The cells of a model or an export."""
    weights = "" if figures.weight_error is None else f"{figures.weight_error:.2%}"
    compared = [""] * 4 if is_original else [
        f"{figures.difference:.1e}", f"{figures.error:.2%}", weights, f"{figures.identical:.1f} %",
    ]  # fmt: skip
    return [
        name,
        show_bytes(figures.num_bytes),
        *compared,
        score_cell(figures),
        "" if is_original else difference_cell(figures),
        f"{figures.tokens_per_second:,.0f}",
    ]


def score_cell(figures: Verification) -> str:
    """The score with its interval."""
    if figures.score is None:
        return ""
    ends = figures.interval
    return f"{figures.score:.2f}" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else "")


def difference_cell(figures: Verification) -> str:
    """The paired difference with its interval."""
    change = figures.change
    if change is None:
        return ""
    shown = f"{change.difference:+.2f}"
    return shown if change.low is None else f"{shown} [{change.low:+.2f}, {change.high:+.2f}]"


def lines(records: Sequence[ExportRecord]) -> list[list[str]]:
    """The original model and its exports."""
    original = records[0].original
    return [
        line("original", original, is_original=True),
        *(line(record.name, record.export, is_original=False) for record in records),
    ]


def show_exports(console: Console, records: Sequence[ExportRecord]) -> None:
    """Print the table."""
    metric = records[0].export.metric
    console.print(f"\n{records[0].num_rows:,} test rows, decoded greedily")
    show_table(console, header(metric), [lines(records)])
    console.print(NOTE, style="dim")


def export_section(record: ExportRecord) -> str:
    """The section of the model card of an export."""
    rows = [header(record.export.metric), ["---", *["---:"] * 8], *lines([record])]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"\n## Export\n\n`{record.name}`, written by llmkit {record.llmkit} and opened by "
        f"{record.export.tool}; {record.num_rows:,} test rows, decoded greedily.\n\n{table}\n\n"
        f"{NOTE[0].upper()}{NOTE[1:]}.\n"
    )
