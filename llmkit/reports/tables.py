"""Scores and differences as the cells of a table, and tables in Markdown and HTML."""

from collections.abc import Iterable, Sequence
from html import escape

from llmkit.scoring.significance import Difference


def score_cell(score: float | None, interval: tuple[float, float] | None) -> str:
    """A score and, below it, its interval; empty if the score is undefined.

    The interval has fewer digits than the score, to keep tables narrow.
    """
    if score is None:
        return ""
    shown = f"{score:.2f}" if abs(score) < 1000 else f"{score:,.0f}"
    ends = "-".join(f"{end:,.{_num_decimals(end)}f}" for end in interval or ())
    return f"{shown}\n{ends}".rstrip()


def _num_decimals(end: float) -> int:
    """Of an end of an interval."""
    return 2 if end < 10 else 1 if end < 1000 else 0


def difference_cell(change: Difference | None) -> str:
    """The difference of a score between two systems and, below it, its interval."""
    if change is None:
        return ""
    return f"{change.difference:+.2f}\n{difference_interval(change)}".rstrip()


def difference_interval(change: Difference) -> str:
    """The interval of a difference; empty if there is none."""
    return "" if change.low is None else f"{change.low:+.2f} to {change.high:+.2f}"


def speed_cell(tokens_per_second: float) -> str:
    """Tokens per second, with a decimal for slow models."""
    return f"{tokens_per_second:,.{1 if tokens_per_second < 9.95 else 0}f}"


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table whose first column is aligned to the left."""
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    cells = (" | ".join(row).replace("\n", "<br>") for row in rows)
    return "".join(f"| {of_row} |\n" for of_row in cells)


def html_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """An HTML table with row headers in the first column; further lines of a cell are small."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)

    def cell(text: str) -> str:
        first, _, rest = text.partition("\n")
        return escape(first) + (f"<small>{escape(rest)}</small>" if rest else "")

    body = "".join(
        f'<tr><th scope="row">{cell(line[0])}</th>'
        f"{''.join(f'<td>{cell(text)}</td>' for text in line[1:])}</tr>"
        for line in lines
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll overflows" tabindex="0">{table}</div>'
