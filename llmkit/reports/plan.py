"""The report of `llmkit plan`: on a terminal, or as one HTML page."""

import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from llmkit.config.recipe import to_override
from llmkit.io.atomic import write_text
from llmkit.planning.plan import Plan
from llmkit.planning.predicted_costs import MEASURED, PredictedCosts
from llmkit.planning.proposals import Proposal
from llmkit.planning.scaling_law import LEVEL
from llmkit.planning.units import show_bytes, show_seconds
from llmkit.reports.html import fill
from llmkit.reports.tables import html_table
from llmkit.runtime.console import show_table


def show_plan(console: Console, plan: Plan) -> None:
    """Print the prediction, and the proposals for a budget."""
    prediction = plan.prediction
    console.print(summary(prediction))
    show_table(console, [f"time, {prediction.basis}", ""], [time_lines(prediction)])
    show_table(console, ["memory at the peak", ""], [bytes_lines(prediction.memory)])
    show_table(console, ["disk", ""], [bytes_lines(prediction.disk)])
    for note in prediction.notes:
        console.print(f"note: {note}")
    if plan.proposals:
        console.print(f"\n{proposals_title(plan)}")
        show_table(
            console,
            ["", *proposal_header(plan)],
            [[proposal_line(plan, each) for each in plan.proposals]],
        )
    for line in closing_lines(plan):
        console.print(line)


LOSS_TITLES = {False: "loss vs. recipe", True: "loss"}  # without and with trials


def proposals_title(plan: Plan) -> str:
    """Title of the proposals: their budget, and how they are ranked."""
    budget = [] if plan.budget is None else [show_seconds(plan.budget)]
    budget += [] if plan.memory is None else [show_bytes(plan.memory)]
    limits = f" for {' and '.join(budget)}" if budget else ""
    if plan.trials:
        how = (
            "the loss of the trials, and for other sizes the scaling law of Hoffmann et al. (2022)"
        )
    else:
        how = "the scaling law of Hoffmann et al. (2022), not fitted to these rows"
    can_try = not plan.has_loss and plan.prediction.basis == MEASURED
    hint = "; use --trials to forecast the loss" if can_try else ""
    return f"proposals{limits}, ranked by {how}{hint}:"


def proposal_header(plan: Plan) -> list[str]:
    """Header of the proposals, without the first column."""
    loss = [LOSS_TITLES[bool(plan.trials)]] if plan.has_loss else []
    return [*loss, "time", "memory", "parameters"]


def proposal_line(plan: Plan, proposal: Proposal) -> list[str]:
    """Cells of a proposal: overrides, loss, time, memory and size."""
    low, expected, high = proposal.loss
    loss = f"{expected:.3f}\n{low:.3f}-{high:.3f}" if plan.trials else f"{expected:+.3f}"
    weights = f"{proposal.num_weights / 1e6:.1f}M"
    shown = show_seconds(proposal.seconds), show_bytes(proposal.num_bytes)
    return [to_type(proposal.changes), *([loss] if plan.has_loss else []), *shown, weights]


def to_type(changes: dict[str, Any]) -> str:
    """The overrides of a proposal, as typed on the command line."""
    return " ".join(to_override(key, value) for key, value in changes.items()) or "no changes"


def closing_lines(plan: Plan) -> list[str]:
    """The loss that trials forecast; if nothing fits the budget, the variant that comes closest;
    and how many devices would shorten the recipe as written to the budget."""
    lines = []
    if plan.loss is not None:
        low, expected, high = plan.loss
        lines.append(
            "validation loss of the recipe as written, forecast from the trials: "
            f"{expected:.3f} ({LEVEL:.0%} interval {low:.3f}-{high:.3f})"
        )
    lines += [] if plan.proposals or plan.least_memory is None else refusal_lines(plan)
    if plan.num_devices is not None:
        lines.append(
            f"the recipe as written would fit the time budget on about {plan.num_devices} such "
            f"GPUs (--num-processes {plan.num_devices})"
        )
    return lines


def refusal_lines(plan: Plan) -> list[str]:
    """That nothing fits the budget, and the variant that comes closest."""
    if plan.fastest is not None:
        closest = (
            "the fastest variant that fits into memory takes "
            f"{show_seconds(plan.fastest.seconds)}: {to_type(plan.fastest.changes)}"
        )
    else:
        closest = (
            "the variant with the least memory takes "
            f"{show_bytes(plan.least_memory.num_bytes)} of memory and "
            f"{show_seconds(plan.least_memory.seconds)}: {to_type(plan.least_memory.changes)}"
        )
    return ["no variant fits this budget", closest]


def summary(prediction: PredictedCosts) -> str:
    """The prediction in one line."""
    return (
        f"{prediction.num_steps:,} steps: about {show_seconds(prediction.total_seconds)}, "
        f"{show_bytes(prediction.peak_bytes)} of memory, "
        f"{show_bytes(prediction.disk_bytes)} of disk space"
    )


def time_lines(prediction: PredictedCosts) -> list[list[str]]:
    """Rows (part, seconds) of the run, with their total."""
    parts = {**prediction.seconds, "total": prediction.total_seconds}
    return [[name, show_seconds(value)] for name, value in parts.items()]


def bytes_lines(parts: dict[str, int]) -> list[list[str]]:
    """Rows (part, bytes), with their total."""
    shown = {name: size for name, size in parts.items() if size}
    return [
        [name, show_bytes(size)] for name, size in {**shown, "total": sum(parts.values())}.items()
    ]


# --------------------------------------------------------------------------------- page

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 416, 280, 56, 14, 26, 42  # of the picture, in pixels


def write_html(plan: Plan, path: Path) -> None:
    """Write one self-contained page in the style of the run report."""
    prediction = plan.prediction
    proposals = ""
    if plan.proposals:
        lines = [proposal_line(plan, each) for each in plan.proposals]
        title = f"<p>{escape(proposals_title(plan))}</p>"
        proposals = (
            f"<h2>Proposals</h2>{title}{html_table(['overrides', *proposal_header(plan)], lines)}"
        )
    notes = [*prediction.notes, *closing_lines(plan)]
    page = fill(
        "plan.html",
        summary=escape(summary(prediction)),
        about=f"<dt>task</dt><dd>{escape(plan.task)}</dd><dt>model</dt><dd>{escape(plan.model)}</dd>",
        time=html_table([f"time, {prediction.basis}", ""], time_lines(prediction)),
        memory=html_table(["memory at the peak", ""], bytes_lines(prediction.memory)),
        disk=html_table(["disk", ""], bytes_lines(prediction.disk)),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes),
        proposals=proposals,
        picture=picture(plan) if plan.has_loss else "",
    )
    write_text(path, page)


def picture(plan: Plan) -> str:
    """SVG chart of the loss by run time, with its interval and the trials."""
    points = plan.curve
    lows, highs = [point.low for point in points], [point.high for point in points]
    # The untuned model is at 0 steps, which a logarithmic axis cannot show.
    trials = {trial.num_steps: trial.loss for trial in plan.trials if trial.num_steps}
    bottom, top = min([*lows, *trials.values()]), max([*highs, *trials.values()])
    bottom, top = (bottom, top) if top > bottom else (bottom - 0.5, top + 0.5)
    start, end = (math.log(point.seconds) for point in (points[0], points[-1]))

    def x(seconds: float) -> float:
        return LEFT + (math.log(seconds) - start) / (end - start or 1) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return HEIGHT - BOTTOM - (loss - bottom) / (top - bottom) * (HEIGHT - BOTTOM - TOP)

    parts = []
    for value in np.linspace(bottom, top, 5):
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/>',
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>',
        ]
    for share in (0.0, 0.5, 1.0):
        seconds = math.exp(start + share * (end - start))
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        parts.append(
            f'<text x="{x(seconds):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="{anchor}">'
            f"{show_seconds(seconds)}</text>"
        )
    if plan.trials:
        edge = [(x(p.seconds), y(p.high)) for p in points]
        edge += [(x(p.seconds), y(p.low)) for p in reversed(points)]
        parts.append(f'<polygon class="band" points="{coordinates(edge)}"/>')
    line = [(x(point.seconds), y(point.expected)) for point in points]
    parts.append(f'<polyline class="curve" points="{coordinates(line)}"/>')
    for number, loss in trials.items():
        seconds = np.interp(
            number, [p.num_steps for p in points], [math.log(p.seconds) for p in points]
        )
        parts.append(
            f'<circle cx="{x(math.exp(seconds)):.1f}" cy="{y(loss):.1f}" r="3.5">'
            f"<title>trial of {number} steps: {loss:.3f}</title></circle>"
        )
    marks = {"recipe": plan.prediction.total_seconds, "budget": plan.budget}
    for name, seconds in marks.items():
        if seconds is not None and points[0].seconds <= seconds <= points[-1].seconds:
            at = f"{x(seconds):.1f}"
            anchor = "end" if x(seconds) > 0.8 * WIDTH else "middle"
            above = TOP - (3 if name == "recipe" else 15)  # the two may be close
            parts.append(
                f'<line class="cursor" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                f'<text x="{at}" y="{above}" text-anchor="{anchor}">{name}</text>'
            )
    up = LOSS_TITLES[bool(plan.trials)]
    caption = f"{up.capitalize()} by run time"
    if plan.trials:
        caption += f", with its {LEVEL:.0%} interval"
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">time</text>')
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<svg class="plan" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(caption)}">{"".join(parts)}</svg></figure>'
    )


def coordinates(points: list[tuple[float, float]]) -> str:
    """Points in SVG notation."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
