"""Charts with two axes, drawn as SVG."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

GRID_COLOR, TEXT_COLOR = "#ddd", "#333"  # the style sheet of a page may set others
LABEL_DISTANCE = 17  # from the area down to the baseline of the labels below it
TITLE_DISTANCE = 8  # from the baseline of the title of the x axis down to the edge


class Margins(NamedTuple):
    """Space around the area of a chart, in pixels."""

    left: int
    right: int
    top: int
    bottom: int


@dataclass(frozen=True)
class Chart:
    """The size and the ranges of a chart. Positions are pixels from the top left corner."""

    width: int
    height: int
    margins: Margins
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    """Ends of the y axis, the lower one first."""
    is_x_log: bool = False

    @property
    def left(self) -> int:
        """Left edge of the area."""
        return self.margins.left

    @property
    def right(self) -> int:
        """Right edge of the area."""
        return self.width - self.margins.right

    @property
    def bottom(self) -> int:
        """Lower edge of the area."""
        return self.height - self.margins.bottom

    def x(self, value: float) -> float:
        """Horizontal position of a value."""
        start, end = self.x_range
        if self.is_x_log:
            value, start, end = math.log(value), math.log(start), math.log(end)
        return self.left + (value - start) / (end - start or 1) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Vertical position of a value."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low or 1) * (self.bottom - self.margins.top)

    def grid(self, values: Iterable[float], digits: int) -> list[str]:
        """Horizontal lines at values of the y axis, which are written beside them."""
        parts = []
        for value in values:
            y = self.y(value)
            parts += [
                f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke="{GRID_COLOR}"/>',
                text(self.left - 6, y + 4, f"{value:.{digits}f}", "end"),
            ]
        return parts

    def x_label(self, value: float, label: str, anchor: str = "middle") -> str:
        """A label below a value of the x axis."""
        return text(self.x(value), self.bottom + LABEL_DISTANCE, label, anchor)

    def x_title(self, title: str) -> str:
        """The title of the x axis, below its labels."""
        return text((self.left + self.right) / 2, self.height - TITLE_DISTANCE, title)

    def points(self, values: Iterable[tuple[float, float]]) -> str:
        """Positions of values (x, y), for the attribute `points` of an element."""
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in values)

    def svg(self, title: str, parts: Iterable[str]) -> str:
        """The chart as a file."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'role="img" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
            f'<rect width="{self.width}" height="{self.height}" fill="white"/>{"".join(parts)}'
            "</svg>\n"
        )


def text(x: float, y: float, words: str, anchor: str = "middle", color: str = TEXT_COLOR) -> str:
    """Words at a position. anchor: start, middle or end, the part of them that is there."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">'
        f"{escape(words)}</text>"
    )
