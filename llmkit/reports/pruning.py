"""The report of `llmkit prune`: a table, and a plot of the score by share."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np
from rich.console import Console

from llmkit.errors import count_of
from llmkit.reports.compression import NUM_PROMPTS, ModelFigures, show_models
from llmkit.scoring.verdict import title_of

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 320, 56, 110, 20, 48  # of the plot, in pixels
COLORS = ("#b4530a", "#1a6fb5")
LABELS = ("pruned", "recovered")
LABEL_HEIGHT = 14


@dataclass(frozen=True)
class PrunedRun:
    """The model of a run and its pruned models."""

    method: str
    metric: str
    """The deciding score."""
    num_rows: int
    """Test rows that were scored."""
    num_steps: int
    """Optimizer steps of each recovery."""
    before: ModelFigures
    """The model of the run."""
    pruned: dict[float, list[ModelFigures]]
    """For each share: the pruned model and, if there was a recovery, the recovered one."""


def show_pruned(console: Console, pruned: PrunedRun) -> None:
    """Print the table, and how much of the score and of the speed each recovered model has."""
    show_models(console, pruned.metric, pruned.num_rows, [[pruned.before], *pruned.pruned.values()])
    for share, models in pruned.pruned.items():
        console.print(f"{percent(share)}: {outcome(pruned, models[-1])}")


def percent(share: float) -> str:
    return f"{100 * share:g}%"


def outcome(pruned: PrunedRun, figures: ModelFigures) -> str:
    """Speed and score of a pruned model next to the model of the run."""
    before = pruned.before
    speeds = [
        f"{figures.tokens_per_second / before.tokens_per_second:.2f} times the speed",
        f"{figures.batch_tokens_per_second / before.batch_tokens_per_second:.2f} times with "
        f"{NUM_PROMPTS} prompts",
    ]
    scores = []
    if before.score and figures.score is not None:
        share = figures.score / before.score
        after = f" after {count_of(pruned.num_steps, 'step')}" if pruned.num_steps else ""
        scores = [f"{share:.1%} of the {title_of(pruned.metric)}{after}"]
    return ", ".join(speeds + scores)


def picture(pruned: PrunedRun) -> str:
    """The score by share of the weights that are removed, with its intervals, as an SVG file."""
    shares = [0.0, *pruned.pruned]
    lines = [
        [pruned.before, *(models[number] for models in pruned.pruned.values())]
        for number in range(min(map(len, pruned.pruned.values())))
    ]
    values = [value for line in lines for figures in line for value in extent(figures)]
    bottom, top = (min(values), max(values)) if values else (0.0, 1.0)
    bottom, top = (bottom, top) if top > bottom else (bottom - 0.5, top + 0.5)

    def x(share: float) -> float:
        return LEFT + share / max(shares) * (WIDTH - LEFT - RIGHT)

    def y(score: float) -> float:
        return HEIGHT - BOTTOM - (score - bottom) / (top - bottom) * (HEIGHT - BOTTOM - TOP)

    parts, label_heights = axes(pruned, shares, np.linspace(bottom, top, 5).tolist(), x, y), []
    for models, label, color in zip(lines, LABELS, COLORS, strict=False):
        points = [
            (x(share), figures)
            for share, figures in zip(shares, models, strict=True)
            if figures.score is not None
        ]
        if points:
            parts += curve(points, color, y)
            label_heights.append(apart(y(points[-1][1].score), label_heights))
            parts.append(text(points[-1][0] + 8, label_heights[-1] + 4, label, "start", color))
    title = f"{title_of(pruned.metric)} by share of pruned weights ({pruned.method})"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def curve(
    points: list[tuple[float, ModelFigures]], color: str, y: Callable[[float], float]
) -> list[str]:
    """Scores with their intervals, joined by lines.

    Args:
        points: Horizontal position and figures of each model.
        y: The vertical position of a score.
    """
    parts = []
    for at, figures in points:
        low, high = min(extent(figures)), max(extent(figures))
        parts += [
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}" '
            f'stroke="{color}"/>',
            f'<circle cx="{at:.1f}" cy="{y(figures.score):.1f}" r="3.5" fill="{color}">'
            f"<title>{escape(figures.name)}: {figures.score:.2f}</title></circle>",
        ]
    joined = " ".join(f"{at:.1f},{y(figures.score):.1f}" for at, figures in points)
    return [*parts, f'<polyline points="{joined}" fill="none" stroke="{color}"/>']


def apart(height: float, others: list[float]) -> float:
    """The height of a label, moved up where it would cover another one."""
    near = [other for other in others if abs(other - height) < LABEL_HEIGHT]
    return min(near) - LABEL_HEIGHT if near else height


def extent(figures: ModelFigures) -> list[float]:
    """The score and the ends of its interval."""
    return [] if figures.score is None else [figures.score, *(figures.interval or ())]


def axes(
    pruned: PrunedRun,
    shares: list[float],
    scores: list[float],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> list[str]:
    """Grid lines with their scores, the shares, and what they are.

    Args:
        x: The horizontal position of a share.
        y: The vertical position of a score.
    """
    parts = []
    for score in scores:
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(score):.1f}" y2="{y(score):.1f}" '
            'stroke="#ddd"/>',
            text(LEFT - 6, y(score) + 4, f"{score:.1f}", "end"),
        ]
    parts += [text(x(share), HEIGHT - BOTTOM + 17, percent(share)) for share in shares]
    middle = (LEFT + WIDTH - RIGHT) / 2
    what = f"weights removed from the blocks; {title_of(pruned.metric)} with 95% intervals"
    return [*parts, text(middle, HEIGHT - 10, what)]


def text(x: float, y: float, words: str, anchor: str = "middle", color: str = "#333") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">'
        f"{escape(words)}</text>"
    )
