"""Samples: a few validation rows with the model's predictions, shown at each validation."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from llmkit.runtime.console import without_controls

INDENT = "    expected:   "
MAX_LINES = 3  # shown of an expected or predicted text in the terminal
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True)
class Sample:
    """A validation row and the model's current prediction for it."""

    id: str
    prompt: str
    references: list[str]
    """The accepted answers, or the continuation of the text."""
    prediction: str
    probability: float | None = None
    """Classification: the probability of the predicted label."""

    def as_dict(self) -> dict[str, Any]:
        """The sample as a JSON object, without fields that do not apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def show_samples(console: Console, samples: list[Sample]) -> None:
    """Print each sample: its prompt on one line, then the expected and the predicted text."""
    for sample in samples:
        prompt = shorten(one_line(sample.prompt), console.width - 2)
        console.print(Text(f"  {prompt}", style="dim"))
        predicted = one_line(sample.prediction)
        if sample.probability is not None:
            predicted += f" ({sample.probability:.1%})"
        for title, text in (
            ("expected:", one_line(" | ".join(sample.references))),
            ("prediction:", predicted),
        ):
            lines = first_lines(text, console.width - len(INDENT), console)
            for number, line in enumerate(lines):
                start = f"    {title}" if number == 0 else ""
                console.print(Text(f"{start:<{len(INDENT)}}{line}".rstrip()))


def one_line(text: str) -> str:
    """The text on one line: white space becomes single spaces, control characters are replaced."""
    return without_controls(" ".join(text.split()))


def shorten(text: str, width: int) -> str:
    """Shorten a text to `width` terminal columns by replacing its middle with an ellipsis."""
    if cell_len(text) <= width:
        return text
    tail = text[-(width // 2) :]
    while cell_len(tail) > width // 2:
        tail = tail[1:]
    head = set_cell_size(text[:width], max(1, width - cell_len(tail) - 1))
    return f"{head}{ELLIPSIS}{tail}"


def first_lines(text: str, width: int, console: Console) -> list[str]:
    """Wrap a text to `width` columns and keep at most MAX_LINES lines, with an ellipsis if more."""
    width = max(width, 8)
    lines = [line.plain.rstrip() for line in Text(text).wrap(console, width)] or [""]
    if len(lines) <= MAX_LINES:
        return lines
    last = set_cell_size(lines[MAX_LINES - 1], width - 1).rstrip()
    return [*lines[: MAX_LINES - 1], f"{last}{ELLIPSIS}"]
