"""Write the report of `benchmarks.pretraining race`, and a plot of the losses."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.reports.chart import Chart, Margins, text

NUM_PARTS = 12  # of the time, for which mean losses are reported
SAMPLE_CHARACTERS = 400
WIDTH, HEIGHT, MARGINS = 640, 340, Margins(left=48, right=90, top=16, bottom=44)  # of the chart
COLORS = ("#1a6fb5", "#b4530a")


@dataclass(frozen=True)
class Competitor:
    """The training of one of the two, and its result."""

    name: str
    losses: list[float]
    """Training loss of each step, in nats per token."""
    seconds: list[float]
    """Seconds from the start to the end of each step."""
    test_loss: float
    """Loss on the test text, in nats per token."""
    tokens_per_step: int

    @property
    def minutes(self) -> float:
        return self.seconds[-1] / 60


def write_report(
    output: Path,
    picture: Path,
    machine: str,
    settings: list[str],
    competitors: list[Competitor],
    bits_per_nat: float,
    samples: list[dict[str, Any]],
) -> None:
    """Write the report and the picture.

    Args:
        output: File of the report.
        picture: File of the plot, in the same folder.
        machine: Description of the processor.
        settings: Keys of the recipe, as given on the command line.
        competitors: llmkit and the plain loop.
        bits_per_nat: Bits per byte of the test text for each nat per token.
        samples: Lines of llmkit's samples.jsonl at its last validation.
    """
    picture.write_text(loss_picture(competitors), "utf-8")
    parts = [
        "# Pretraining: llmkit and a plain loop in the same time",
        f"Written by `python -m benchmarks.pretraining race`. Processor: {machine}. Each had one "
        "core and one thread; both ran at the same time. The plain loop is nanoGPT's in plain "
        "PyTorch, with its random blocks; both started from the same weights and read the same "
        "text.",
        final_table(competitors, bits_per_nat),
        f"![Training loss over time]({picture.name})",
        "Mean training loss, in nats per token, by the time since the start:",
        loss_table(competitors),
        "## Settings",
        "```\n" + "\n".join(settings) + "\n```",
        "## Samples",
        "Held-out texts, and how llmkit's model continues them (greedy, in bold):",
        *map(sample_lines, samples),
    ]
    output.write_text("\n\n".join(parts) + "\n", "utf-8")


def final_table(competitors: list[Competitor], bits_per_nat: float) -> str:
    lines = [
        "| | steps | tokens | minutes | test loss | bits per byte |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for each in competitors:
        num_steps = len(each.losses)
        lines.append(
            f"| {each.name} | {num_steps:,} | {num_steps * each.tokens_per_step:,} "
            f"| {each.minutes:.0f} | {each.test_loss:.3f} | {each.test_loss * bits_per_nat:.3f} |"
        )
    return "\n".join(lines)


def part_ends(competitors: list[Competitor]) -> np.ndarray:
    """The end of each part of the time, in minutes."""
    longest = max(each.minutes for each in competitors)
    return np.linspace(0, longest, NUM_PARTS + 1)[1:]


def mean_losses(competitor: Competitor, ends: np.ndarray) -> list[float]:
    """The mean loss of the steps of each part of the time; NaN where there is none."""
    part = np.searchsorted(ends, np.array(competitor.seconds) / 60).clip(max=len(ends) - 1)
    counts = np.bincount(part, minlength=len(ends))
    sums = np.bincount(part, np.array(competitor.losses), len(ends))
    with np.errstate(invalid="ignore"):
        return (sums / counts).tolist()


def loss_table(competitors: list[Competitor]) -> str:
    ends = part_ends(competitors)
    columns = [mean_losses(each, ends) for each in competitors]
    lines = [
        f"| minutes | {' | '.join(each.name for each in competitors)} |",
        "|---|" + "---:|" * len(competitors),
    ]
    starts = [0, *ends[:-1]]
    for start, end, *losses in zip(starts, ends, *columns, strict=True):
        cells = " | ".join(f"{loss:.3f}" for loss in losses)
        lines.append(f"| {start:.0f}-{end:.0f} | {cells} |")
    return "\n".join(lines)


def sample_lines(sample: dict[str, Any]) -> str:
    prompt, prediction = (" ".join(sample[name].split()) for name in ("prompt", "prediction"))
    start, continuation = prompt[-SAMPLE_CHARACTERS:], prediction[:SAMPLE_CHARACTERS]
    return f"> {escape(start)} **{escape(continuation)}**"


def loss_picture(competitors: list[Competitor]) -> str:
    """The smoothed training losses over time as an SVG file."""
    longest = max(each.minutes for each in competitors)
    curves = [smoothed(each) for each in competitors]
    values = np.concatenate([losses for _, losses in curves])
    low, high = float(np.floor(values.min() * 2) / 2), float(np.ceil(values.max() * 2) / 2)

    chart = Chart(WIDTH, HEIGHT, MARGINS, (0.0, longest), (low, high))
    parts = chart.grid(np.linspace(low, high, 6), digits=1)
    parts += [chart.x_label(each, f"{each:.0f}") for each in np.linspace(0, longest, 5)]
    parts.append(chart.x_title("minutes; nats per token"))
    ends = []
    for each, (minutes, losses), color in zip(competitors, curves, COLORS, strict=True):
        points = chart.points(zip(minutes, losses, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" />')
        ends.append((chart.y(losses[-1]), each.name, color))
    for number, (height, name, color) in enumerate(sorted(ends)):
        parts.append(text(chart.right + 6, height + (12 if number else -4), name, "start", color))
    return chart.svg("Training loss over time", parts)


def smoothed(competitor: Competitor) -> tuple[np.ndarray, np.ndarray]:
    """Minutes and mean losses of up to 150 groups of consecutive steps."""
    groups = np.array_split(np.arange(len(competitor.losses)), min(150, len(competitor.losses)))
    losses, seconds = np.array(competitor.losses), np.array(competitor.seconds)
    return (
        np.array([seconds[group].mean() / 60 for group in groups]),
        np.array([losses[group].mean() for group in groups]),
    )
