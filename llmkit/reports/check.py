"""The report of `llmkit check`: on a terminal, or as one HTML page."""

from html import escape
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llmkit.data.findings import Finding
from llmkit.data.preview import PERCENTILES, Check, Sample, TrainingCheck
from llmkit.errors import NUM_NAMED, count_of
from llmkit.io.atomic import write_text
from llmkit.io.safe_json import to_json
from llmkit.reports.html import fill
from llmkit.reports.tables import html_table
from llmkit.reports.terminal import show_findings, show_prompt
from llmkit.runtime.console import show_table
from llmkit.units import show_bytes

PERCENTILE_LABELS = ["longest" if p == 100 else f"{p} %" for p in PERCENTILES]
STYLES = {"prompt": "dim", "truncated": "red strike", "supervised": "bold green"}


def show_check(console: Console, check: Check) -> None:
    """Print shapes and prompt, the first rows, counts and findings."""
    shapes = {name: split.shape for name, split in check.splits.items()}
    show_prompt(console, shapes, check.prompt, check.prompt_warnings, console)
    console.print()
    for sample in check.samples:
        show_sample(console, sample)
    counts = [[label, *(f"{v:,}" if v else "" for v in line)] for label, line in count_lines(check)]
    rows = [line for line in counts if line[0].startswith("rows")]
    tokens = [line for line in counts if line[0].startswith("tokens")]
    show_table(console, ["", *check.splits], [rows, tokens])
    show_table(console, ["tokens per row", *PERCENTILE_LABELS], [_cells(length_lines(check))])
    for line in training_lines(check):
        console.print(line)
    for warning in check.training.warnings if check.training else ():
        console.print(f"warning: {warning}")
    console.print()
    show_findings(console, check.findings)
    console.print(summary(check))


def show_sample(console: Console, sample: Sample) -> None:
    """Print a row; each part begins with its role, so that it can be read without colours."""
    console.print(Text(f"{sample.where} ({sample.outcome})", style="underline"))
    role = None
    for piece in sample.pieces:
        if piece.text and piece.role != role:
            role = piece.role
            console.print(Text(f"[{role}]", style="dim"), end=" ")
        if piece.text:
            console.print(Text(escape_controls(piece.text), style=STYLES[piece.role]), end="")
    console.print("\n")


def escape_controls(text: str) -> str:
    """The text with all control characters escaped except line breaks and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def count_lines(check: Check) -> list[tuple[str, list[int]]]:
    """(label, number in each split) of each line of the table of rows and tokens."""
    splits = check.splits.values()
    outcomes = dict.fromkeys(
        outcome for split in splits for outcome in split.encoding_report.outcomes
    )
    uses = dict.fromkeys(use for split in splits for use in split.encoding_report.tokens)
    lines = [
        *(
            (f"rows {outcome}", [s.encoding_report.outcomes[outcome] for s in splits])
            for outcome in outcomes
        ),
        ("rows unreadable", [len(s.errors) for s in splits]),
        ("rows read", [s.num_rows for s in splits]),
        *((f"tokens {use}", [s.encoding_report.tokens[use] for s in splits]) for use in uses),
        ("tokens read", [s.encoding_report.num_tokens for s in splits]),
    ]
    return [line for line in lines if any(line[1])]


def length_lines(check: Check) -> list[tuple[str, list[int]]]:
    return [
        (f"{name}: {part}", lengths)
        for name, split in check.splits.items()
        for part, lengths in split.lengths.items()
    ]


def _cells(lines: list[tuple[str, list[int]]]) -> list[list[str]]:
    return [[label, *(f"{number:,}" for number in numbers)] for label, numbers in lines]


def training_lines(check: Check) -> list[str]:
    """Steps, tokens, micro-batches and memory of the training."""
    training = check.training
    if training is None:
        return ["no rows are left to train on"]
    share = check.splits["train"].encoding_report.supervised_share
    tokens = (
        f"{count_of(training.num_steps, 'step')}; {share:.1%} of their tokens are supervised; "
        f"{training.padding_share:.1%} of the model's input is padding"
    )
    mix = (f"mix {drawn}" for drawn in training.mix)
    return [*mix, tokens, training.steps, memory_line(training)]


def memory_line(training: TrainingCheck) -> str:
    """The estimated memory of the training, and the command that predicts its time."""
    parts = ", ".join(f"{show_bytes(size)} {name}" for name, size in training.memory.items())
    total = show_bytes(sum(training.memory.values()))
    switch = "on" if training.activation_checkpointing else "off"
    return (
        f"training takes about {total} besides the libraries: {parts}; activation checkpointing "
        f"{switch}; `llmkit plan` predicts the time"
    )


def summary(check: Check) -> str:
    """The number of errors, warnings and notes in one line."""
    severities = [finding.severity for finding in check.findings]
    severities += ["warning"] * len(check.prompt_warnings)
    if not severities:
        return "no problems found"
    names = ("error", "warning", "note")
    counts = [(severities.count(name), name) for name in names if name in severities]
    return ", ".join(count_of(count, name) for count, name in counts)


def write_html(check: Check, task: str, model: str, path: Path) -> None:
    """Write one self-contained page in the style of the run report."""
    page = fill(
        "check.html",
        summary=escape(summary(check)),
        about="".join(
            f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in about(check, task, model)
        ),
        findings="".join(map(_html_warning, check.prompt_warnings))
        + "".join(map(_html_finding, check.findings)),
        counts=html_table(["", *check.splits], _cells(count_lines(check))),
        lengths=html_table(["tokens per row", *PERCENTILE_LABELS], _cells(length_lines(check))),
        training="".join(f"<p>{escape(line)}.</p>" for line in training_lines(check)),
        samples="".join(map(_html_sample, check.samples)),
    )
    write_text(path, page)


def about(check: Check, task: str, model: str) -> list[tuple[str, str]]:
    """(name, value) of each fact about what was checked."""
    shapes = dict.fromkeys(str(split.shape) for split in check.splits.values() if split.shape)
    lines = [("task", task), ("model", model), ("shape", "; ".join(shapes))]
    lines += [("prompt", to_json(check.prompt or "", ensure_ascii=False))]
    return [(name, text) for name, text in lines if text not in ("", '""')]


def _html_finding(finding: Finding) -> str:
    """The finding; if it names only the first of its rows, all of them in a collapsed list."""
    severity, _, text = str(finding).partition(": ")
    line = f'<li class="{finding.severity}"><strong>{escape(severity)}</strong>: {escape(text)}'
    if len(finding.rows) <= NUM_NAMED:
        return f"{line}</li>"
    places = "".join(f"<li>{escape(place)}</li>" for place in finding.locations)
    return f"{line}<details><summary>all rows</summary><ul>{places}</ul></details></li>"


def _html_warning(text: str) -> str:
    return f'<li class="warning"><strong>warning</strong>: {escape(text)}</li>'


def _html_sample(sample: Sample) -> str:
    pieces = "".join(f'<span class="part-{p.role}">{escape(p.text)}</span>' for p in sample.pieces)
    title = f"{escape(sample.where)} <small>{escape(sample.outcome)}</small>"
    return f'<h3>{title}</h3><pre class="sample">{pieces}</pre>'
