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
from llmkit.planning.scaling_law import CONFIDENCE_LEVEL
from llmkit.reports.chart import Chart, Margins, text
from llmkit.reports.html import fill
from llmkit.reports.tables import html_table
from llmkit.runtime.console import show_table
from llmkit.units import show_bytes, show_seconds


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
    return [format_changes(proposal.changes), *([loss] if plan.has_loss else []), *shown, weights]


def format_changes(changes: dict[str, Any]) -> str:
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
            f"{expected:.3f} ({CONFIDENCE_LEVEL:.0%} interval {low:.3f}-{high:.3f})"
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
    closest = plan.fastest or plan.least_memory
    costs, changes = show_seconds(closest.seconds), format_changes(closest.changes)
    if plan.fastest is not None:
        which = "the fastest variant that fits into memory"
    else:
        which = "the variant with the least memory"
        costs = f"{show_bytes(closest.num_bytes)} of memory and {costs}"
    return ["no variant fits this budget", f"{which} takes {costs}: {changes}"]


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

WIDTH, HEIGHT, MARGINS = 416, 280, Margins(left=56, right=14, top=26, bottom=42)  # of the chart


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


def loss_chart(plan: Plan) -> Chart:
    """A chart whose ranges show the whole curve, its interval and all trials; the run times have a
    logarithmic axis."""
    losses = [loss for point in plan.curve for loss in (point.low, point.high)]
    losses += trial_losses(plan).values()
    bottom, top = min(losses), max(losses)
    margin = 0.0 if top > bottom else 0.5
    seconds = plan.curve[0].seconds, plan.curve[-1].seconds
    return Chart(WIDTH, HEIGHT, MARGINS, seconds, (bottom - margin, top + margin), is_x_log=True)


def trial_losses(plan: Plan) -> dict[int, float]:
    """Loss by number of steps."""
    return {trial.num_steps: trial.loss for trial in plan.trials}


def picture(plan: Plan) -> str:
    """SVG chart of the loss by run time, with its interval and the trials."""
    chart = loss_chart(plan)
    parts = [*draw_axes(chart), *draw_curve(plan, chart), *draw_trials(plan, chart)]
    parts += draw_marks(plan, chart)
    caption = f"{LOSS_TITLES[bool(plan.trials)].capitalize()} by run time"
    if plan.trials:
        caption += f", with its {CONFIDENCE_LEVEL:.0%} interval"
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<svg class="plan" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(caption)}">{"".join(parts)}</svg></figure>'
    )


def draw_axes(chart: Chart) -> list[str]:
    """Grid lines with their losses, and run times below them."""
    parts = chart.grid(np.linspace(*chart.y_range, 5), digits=2)
    anchors = ("start", "middle", "end")
    for seconds, anchor in zip(np.geomspace(*chart.x_range, 3), anchors, strict=True):
        parts.append(chart.x_label(seconds, show_seconds(seconds), anchor))
    return [*parts, chart.x_title("time")]


def draw_curve(plan: Plan, chart: Chart) -> list[str]:
    """The expected loss and, with trials, its interval as a band."""
    parts = []
    if plan.trials:
        edge = [(point.seconds, point.high) for point in plan.curve]
        edge += [(point.seconds, point.low) for point in reversed(plan.curve)]
        parts.append(f'<polygon class="band" points="{chart.points(edge)}"/>')
    line = [(point.seconds, point.expected) for point in plan.curve]
    return [*parts, f'<polyline class="curve" points="{chart.points(line)}"/>']


def draw_trials(plan: Plan, chart: Chart) -> list[str]:
    """A circle for each trial, at the run time of its number of steps."""
    steps = [point.num_steps for point in plan.curve]
    log_seconds = [math.log(point.seconds) for point in plan.curve]
    return [
        f'<circle cx="{chart.x(math.exp(np.interp(number, steps, log_seconds))):.1f}" '
        f'cy="{chart.y(loss):.1f}" r="3.5"><title>trial of {number} steps: {loss:.3f}</title>'
        "</circle>"
        for number, loss in trial_losses(plan).items()
    ]


def draw_marks(plan: Plan, chart: Chart) -> list[str]:
    """Vertical lines at the run time of the recipe and at the budget."""
    parts, top = [], MARGINS.top
    for name, seconds in (("recipe", plan.prediction.total_seconds), ("budget", plan.budget)):
        if seconds is None or not chart.x_range[0] <= seconds <= chart.x_range[1]:
            continue
        x = chart.x(seconds)
        above = top - (3 if name == "recipe" else 15)  # the two may be close
        parts += [
            f'<line class="cursor" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{chart.bottom}"/>',
            text(x, above, name, "end" if x > 0.8 * WIDTH else "middle"),
        ]
    return parts
