"""The `export` command: write a run's model for other programs, open it with them, compare."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from llmkit.config.generation import Generation
from llmkit.data.answers import count_answers
from llmkit.data.recipe_task import recipe_task
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.evaluation.evaluation_set import EvaluationSet, read_test_sets
from llmkit.export.answers import (
    Answers,
    CannotOpen,
    Original,
    answers_in_fresh_process,
    answers_of_runtime,
)
from llmkit.export.formats import Target
from llmkit.export.questions import Questions, questions_about
from llmkit.export.record import ExportRecord
from llmkit.export.source import Source
from llmkit.export.verification import Verification, compare_answers, exceeded, problems
from llmkit.io.atomic import make_folder, recover, sibling, write_folder, write_text
from llmkit.model.load import check_max_length, load_model
from llmkit.paths import check_writable, expand
from llmkit.reports.export import export_section, show_exports
from llmkit.reports.html import write_report
from llmkit.runs.find import recipe_of, resolve_model
from llmkit.runs.folder import (
    export_record_path,
    exports_dir,
    model_dir,
    report_path,
    results_path,
)
from llmkit.scoring.deciding_metric import choose_metric
from llmkit.workflows.evaluate import encode_tests, show_invalid


@dataclass(frozen=True)
class Export:
    """An export that was written, or refused."""

    target: Target
    folder: Path
    record: ExportRecord | None = None
    """None if it could not be opened."""
    reasons: list[str] = field(default_factory=list)
    """Why it was refused and removed; none if it was written."""


class Refused(Exception):
    """The export is not the same model."""

    def __init__(self, reasons: list[str], record: ExportRecord | None = None) -> None:
        self.reasons, self.record = reasons, record
        super().__init__("; ".join(reasons))


@dataclass(frozen=True)
class Reference:
    """The original model's answers, which those of every export are compared with."""

    test: EvaluationSet
    questions: Questions
    answers: Answers
    stop: list[str]
    metric: str
    num_bytes: int

    def figures(self, answers: Answers, num_bytes: int) -> Verification:
        return compare_answers(answers, self.answers, self.test, self.stop, self.metric, num_bytes)


def export_run(
    name: str,
    targets: Sequence[Target],
    overrides: tuple[str, ...],
    console: Console,
    *,
    output: str | None = None,
    is_forced: bool = False,
) -> list[Export]:
    """Export the model of a finished run, each format checked by the program that opens it.

    Args:
        name: The run.
        overrides: `key=value` for keys of its recipe that name the test rows.
        output: Folder in which the exports are written; default: `exports` in the run.
        is_forced: Replace exports that are there.

    Raises UserError if a format cannot hold the model, and for an export that is there.
    """
    run = find_finished_run(name)
    folder = exports_dir(run) if output is None else expand(output)
    check_writable(folder, "--output")
    folders = [folder / target.folder_name for target in targets]
    for each in folders:
        require_free(each, is_forced=is_forced)
    source = open_source(run, overrides)
    for target in targets:
        reason = target.format.unsupported(source, target.precision)
        if reason is not None:
            raise UserError(f"--to {target}: {reason}")
    reference = ask_original(source, console)
    make_folder(folder)
    exports = [
        export_one(source, target, path, reference, console)
        for target, path in zip(targets, folders, strict=True)
    ]
    records = [each.record for each in exports if each.record is not None]
    if records:
        show_exports(console, records)
    if output is None and any(not each.reasons for each in exports):
        write_report([run], report_path(run))
    return exports


def find_finished_run(name: str) -> Path:
    """The folder of a finished run; raises UserError for anything else."""
    _, run = resolve_model(name)
    if run is None:
        raise UserError(f"{name}: not a run; name the folder that `llmkit finetune` made")
    if not results_path(run).is_file():
        raise UserError(f"{name}: this run has not finished; resume it first")
    return run


def require_free(folder: Path, *, is_forced: bool) -> None:
    """Raise UserError if the folder is there, unless it is an export that may be replaced."""
    recover(folder)
    if not folder.exists():
        return
    if not export_record_path(folder).is_file():
        raise UserError(f"{folder}: not an export; move it away, or give another --output")
    if not is_forced:
        raise UserError(f"{folder}: is there already; give --force to replace it")


def open_source(run: Path, overrides: tuple[str, ...]) -> Source:
    """The run with its model."""
    recipe = recipe_of(run, overrides=overrides)
    model, tokenizer = load_model(model_dir(run))
    check_max_length(recipe.data.max_length, model)
    return Source(run, recipe, recipe_task(recipe), model, tokenizer)


def ask_original(source: Source, console: Console) -> Reference:
    """The answers of the original model about the run's test rows."""
    recipe = source.recipe
    splits = open_splits(recipe.data, source.task, recipe.evaluation)
    show_invalid(splits)
    counts = count_answers(splits["train"], source.task)
    tests = read_test_sets(splits, source.task, counts, (), None)
    test = encode_tests(tests, source.tokenizer, recipe.data, recipe.generation)["test"]
    greedy = Generation(
        max_new_tokens=recipe.generation.max_new_tokens, stop=recipe.generation.stop
    )
    if test.task.output == "completion" and recipe.generation != greedy:
        console.print(
            "decoding: greedy for the original model and for each export, without the recipe's "
            "other settings, which other programs do not share"
        )
    questions = questions_about(
        test,
        source.tokenizer,
        recipe.generation.max_new_tokens,
        source.model.config.max_position_embeddings,
    )
    console.print(f"original: scoring {len(test.rows):,} test rows")
    answers = answers_of_runtime(Original(source.model, source.tokenizer), questions)
    metric = choose_metric(test.task, recipe.evaluation.metric).name
    stop, num_bytes = recipe.generation.stop, size_of(source.folder)
    return Reference(test, questions, answers, stop, metric, num_bytes)


def export_one(
    source: Source, target: Target, folder: Path, reference: Reference, console: Console
) -> Export:
    """Write an export and check it; its folder is there only if it is the same model."""
    records = []

    def write(staging: Path) -> None:
        target.format.write(source, target.precision, staging)
        console.print(f"{target}: wrote it; scoring it with the program that opens it")
        record = verify(source, target, staging, reference)
        card = (source.folder / "README.md").read_text("utf-8")
        write_text(staging / "README.md", card + export_section(record))
        record.write(staging)
        records.append(record)

    try:
        write_folder(folder, write)
    except Refused as refused:
        return Export(target, folder, refused.record, refused.reasons)
    finally:
        shutil.rmtree(sibling(folder, "partial"), ignore_errors=True)
    return Export(target, folder, records[0])


def verify(source: Source, target: Target, folder: Path, reference: Reference) -> ExportRecord:
    """The record of a written export; raises Refused unless it is the same model."""
    try:
        answers = answers_in_fresh_process(target.format_name, folder, reference.questions)
    except CannotOpen as error:
        raise Refused([f"cannot be opened ({error})"]) from None
    found = problems(answers, reference.answers)
    if found:
        raise Refused(found)
    figures = reference.figures(answers, size_of(folder))
    if target.bounds.weight_error is not None:
        error = target.format.weight_error(source, folder)
        figures = replace(figures, weight_error=error)
    record = ExportRecord(
        str(target),
        len(reference.test.rows),
        reference.figures(reference.answers, reference.num_bytes),
        figures,
    )
    reasons = exceeded(record.export, target.bounds)
    if reasons:
        raise Refused(reasons, record)
    return record


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
