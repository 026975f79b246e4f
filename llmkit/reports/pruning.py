"""The report of `llmkit prune`: a table, and a plot of the score by share."""

from dataclasses import dataclass
from html import escape

import numpy as np
from rich.console import Console

from llmkit.errors import count_of
from llmkit.reports.chart import Chart, Margins, text
from llmkit.reports.compression import NUM_PROMPTS, ModelFigures, show_models
from llmkit.scoring.verdict import title_of
from llmkit.units import show_percent

WIDTH, HEIGHT, MARGINS = 520, 320, Margins(left=56, right=110, top=20, bottom=48)  # of the plot
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
        console.print(f"{show_percent(share)}: {outcome(pruned, models[-1])}")


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

    chart = Chart(WIDTH, HEIGHT, MARGINS, (0.0, max(shares)), (bottom, top))
    parts, label_heights = chart.grid(np.linspace(bottom, top, 5), digits=1), []
    parts += [chart.x_label(share, show_percent(share)) for share in shares]
    title = title_of(pruned.metric)
    parts.append(chart.x_title(f"weights removed from the blocks; {title} with 95% intervals"))
    for models, label, color in zip(lines, LABELS, COLORS, strict=False):
        scored = {
            share: figures
            for share, figures in zip(shares, models, strict=True)
            if figures.score is not None
        }
        if scored:
            parts += curve(scored, color, chart)
            share, last = list(scored.items())[-1]
            label_heights.append(apart(chart.y(last.score), label_heights))
            parts.append(text(chart.x(share) + 8, label_heights[-1] + 4, label, "start", color))
    return chart.svg(f"{title} by share of pruned weights ({pruned.method})", parts)


def curve(scored: dict[float, ModelFigures], color: str, chart: Chart) -> list[str]:
    """Scores with their intervals, joined by lines. scored: Figures by share, with a score."""
    parts = []
    for share, figures in scored.items():
        x, score = chart.x(share), figures.score
        low, high = min(extent(figures)), max(extent(figures))
        parts += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{chart.y(low):.1f}" y2="{chart.y(high):.1f}" '
            f'stroke="{color}"/>',
            f'<circle cx="{x:.1f}" cy="{chart.y(score):.1f}" r="3.5" fill="{color}">'
            f"<title>{escape(figures.name)}: {score:.2f}</title></circle>",
        ]
    points = chart.points((share, figures.score) for share, figures in scored.items())
    return [*parts, f'<polyline points="{points}" fill="none" stroke="{color}"/>']


def apart(height: float, others: list[float]) -> float:
    """The height of a label, moved up where it would cover another one."""
    near = [other for other in others if abs(other - height) < LABEL_HEIGHT]
    return min(near) - LABEL_HEIGHT if near else height


def extent(figures: ModelFigures) -> list[float]:
    """The score and the ends of its interval."""
    return [] if figures.score is None else [figures.score, *(figures.interval or ())]
