"""The table of exports and their original model: in the terminal, model card and HTML report."""

from collections.abc import Sequence

from rich.console import Console

from llmkit.export.record import ExportRecord
from llmkit.export.verification import Verification
from llmkit.reports.tables import difference_cell, markdown_table, score_cell, speed_cell
from llmkit.runtime.console import show_table
from llmkit.scoring.verdict import title_of
from llmkit.units import show_bytes

NOTE = (
    "logits: largest difference at up to 4 positions of up to 32 test rows; error: root mean "
    "square of these differences relative to the standard deviation of the logits; KL: mean "
    "divergence, in nats; weights: root mean square error of the worst layer relative to its "
    "weights; texts: identical completions or labels; difference: of the score, paired by rows; "
    "tokens/s: one prompt at a time"
)


def header(metric: str) -> list[str]:
    """The header of the table. metric: Name of the deciding metric."""
    compared = ["logits", "error", "KL", "weights", "texts"]
    return ["", "size", *compared, title_of(metric), "difference", "tokens/s"]


def line(name: str, figures: Verification, *, is_original: bool) -> list[str]:
    """The cells of the original model or an export."""
    compared = [""] * 5 if is_original else [
        f"{figures.logit_difference:.1e}",
        f"{figures.logit_error:.2%}",
        f"{figures.kl:.1e}",
        "" if figures.weight_error is None else f"{figures.weight_error:.2%}",
        f"{figures.identical_texts:.1f}%",
    ]  # fmt: skip
    return [
        name,
        show_bytes(figures.num_bytes),
        *compared,
        score_cell(figures.score, figures.interval),
        "" if is_original else difference_cell(figures.change),
        speed_cell(figures.tokens_per_second),
    ]


def lines(records: Sequence[ExportRecord]) -> list[list[str]]:
    """The original model and its exports."""
    original = records[0].original
    return [
        line("original", original, is_original=True),
        *(line(record.name, record.export, is_original=False) for record in records),
    ]


def show_exports(console: Console, records: Sequence[ExportRecord]) -> None:
    """Print the table."""
    console.print(f"\n{records[0].num_rows:,} test rows, decoded greedily")
    show_table(console, header(records[0].export.metric), [lines(records)])
    console.print(NOTE, style="dim")


def export_section(record: ExportRecord) -> str:
    """The section about an export in its model card."""
    table = markdown_table(header(record.export.metric), lines([record]))
    return (
        f"\n## Export\n\n`{record.name}`, written by llmkit {record.llmkit} and opened by "
        f"{record.export.tool}; {record.num_rows:,} test rows, decoded greedily.\n\n{table}\n"
        f"{NOTE[0].upper()}{NOTE[1:]}.\n"
    )
