"""The `export` command: write a run's model for other programs, and compare it in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from llmkit.errors import UserError
from llmkit.export.formats import Target
from llmkit.export.fresh_process import CannotOpen, compute_in_fresh_process
from llmkit.export.record import ExportRecord
from llmkit.export.source import Source
from llmkit.export.verification import exceeded, problems
from llmkit.io.atomic import check_replaceable, make_folder, write_folder, write_text
from llmkit.paths import check_writable, expand, total_size
from llmkit.reports.export import export_section, show_exports
from llmkit.reports.html import write_report
from llmkit.reports.model_card import card_of_form
from llmkit.runs.find import find_finished_run
from llmkit.runs.folder import card_path, exports_dir, is_export, report_path
from llmkit.runtime.console import warning_console
from llmkit.workflows.original_model import (
    OriginalModel,
    load_source,
    run_original_model,
)


@dataclass(frozen=True)
class Export:
    """An export that was written, or refused."""

    target: Target
    folder: Path
    record: ExportRecord | None = None
    """None if no figures could be computed."""
    reasons: list[str] = field(default_factory=list)
    """Why it was refused and removed; none if it was written."""


class Refused(Exception):
    """The export is not the same model."""

    def __init__(self, reasons: list[str], record: ExportRecord | None = None) -> None:
        self.reasons, self.record = reasons, record
        super().__init__("; ".join(reasons))


def export_run(
    name: str,
    targets: Sequence[Target],
    overrides: tuple[str, ...],
    console: Console,
    *,
    output: str | None = None,
    is_forced: bool = False,
) -> list[Export]:
    """Export the model of a finished run, and check each export in the program that opens it.

    Args:
        name: The run.
        overrides: `key=value` for keys of its recipe that name the test rows.
        output: Folder in which the exports are written; default: `exports` in the run.
        is_forced: Replace existing exports.

    Raises UserError if a format cannot hold the model, and for an existing export.
    """
    run = find_finished_run(name)
    folder = exports_dir(run) if output is None else expand(output)
    check_writable(folder, "--output")
    folders = [folder / target.folder_name for target in targets]
    for each in folders:
        check_replaceable(each, is_export, is_forced=is_forced)
    source = load_source(run, overrides)
    for target in targets:
        reason = target.format.unsupported(source, target.precision)
        if reason is not None:
            raise UserError(f"--to {target}: {reason}")
    original = run_original_model(source, console)
    make_folder(folder)
    exports = [
        export_one(source, target, path, original, console)
        for target, path in zip(targets, folders, strict=True)
    ]
    records = [each.record for each in exports if each.record is not None]
    if records:
        show_exports(console, records)
    show_command(source, exports, original, console)
    if output is None and any(not each.reasons for each in exports):
        update_report(run)
    return exports


def update_report(run: Path) -> None:
    """Rewrite the report of a run; a warning says why if its results cannot be read."""
    try:
        write_report([run], report_path(run))
    except UserError as error:
        warning_console().print(f"warning: {report_path(run)} is not updated: {error}")


def show_command(
    source: Source, exports: Sequence[Export], original: OriginalModel, console: Console
) -> None:
    """Print how to run the first export that has a command, on the shortest prompt of the test
    rows."""
    prompt = source.tokenizer.decode(min(original.inputs.prompts, key=len))
    for each in exports:
        make_command = each.target.format.command
        if make_command is not None and not each.reasons:
            limit = original.inputs.max_new_tokens
            command = make_command(each.folder, prompt, limit, original.stop)
            console.print(f"\nto run {each.target}:\n{command}\n")
            return


def export_one(
    source: Source, target: Target, folder: Path, original: OriginalModel, console: Console
) -> Export:
    """Write an export and check it; its folder remains only if it is the same model."""
    records = []

    def write(staging: Path) -> None:
        target.format.write(source, target.precision, staging)
        console.print(f"{target}: written; scoring it in the program that opens it")
        record = verify(source, target, staging, original)
        card = card_of_form(source.folder, target.format.library, export_section(record))
        write_text(card_path(staging), card)
        record.write(staging)
        records.append(record)

    try:
        write_folder(folder, write)
    except Refused as refused:
        return Export(target, folder, refused.record, refused.reasons)
    return Export(target, folder, records[0])


def verify(source: Source, target: Target, folder: Path, original: OriginalModel) -> ExportRecord:
    """The record of a written export; raises Refused unless it is the same model."""
    try:
        outputs = compute_in_fresh_process(target.format_name, folder, original.inputs)
    except CannotOpen as error:
        raise Refused([f"cannot be opened ({error})"]) from None
    found = problems(outputs, original.outputs)
    if found:
        raise Refused(found)
    figures = original.compare(outputs, total_size(folder.iterdir()))
    if target.bounds.weight_error is not None:
        error = target.format.weight_error(source, folder)
        figures = replace(figures, weight_error=error)
    record = ExportRecord(str(target), len(original.test.rows), original.figures, figures)
    reasons = exceeded(figures, target.bounds)
    if reasons:
        raise Refused(reasons, record)
    return record
