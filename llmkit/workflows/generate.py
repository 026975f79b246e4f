"""Predictions for a prompt, for the rows of a file, or for texts."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from llmkit.data.columns import SKIP
from llmkit.errors import UserError
from llmkit.generation.prompt_report import PromptReport
from llmkit.generation.prompts import EncodedPrompt, Prompt, PromptReader
from llmkit.generation.session import GenerationSession
from llmkit.io import row_files
from llmkit.io.row_writer import TABLE_FORMATS, check_format, write_rows
from llmkit.metrics.prediction import Prediction
from llmkit.paths import check_output, expand
from llmkit.reports.predictions import (
    output_columns,
    output_row,
    print_labels,
    print_prediction,
)
from llmkit.runtime.console import counting, warning_console

WINDOW = 2048  # rows that are read together and batched by length


def generate_from_prompt(
    session: GenerationSession,
    text: str,
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for one prompt; print the prediction, as text or JSON, or write it to a file."""
    prompt = typed_prompt(session.reader(is_raw), text, "0", "--prompt")
    report = PromptReport()
    (encoded,) = session.encode([prompt])
    if isinstance(encoded, UserError):
        raise encoded
    report.add(encoded)
    show_report(session, report)
    ((_, prediction),) = predict_windows(session, [[encoded]], 1)
    if output is not None:
        write_predictions(output, [(prompt, prediction)], session, report)
    elif prediction.probabilities and not as_json:
        print_labels(prediction.probabilities, session.console)
    else:
        print_prediction(prompt, prediction, as_json)


def generate_from_file(
    session: GenerationSession,
    path: Path,
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for each row of a file; print the predictions, as text or JSON, or write them with
    all columns."""
    reader, report = session.reader(is_raw), PromptReport()
    # Every row is read and encoded once before the first prediction, so that none fails later.
    for window in read_encoded(session, reader, path, report.left_out):
        for encoded in window:
            report.add(encoded)
    if not report.num_rows:
        raise UserError(next(iter(report.left_out), f"{path}: no rows in it"))
    show_report(session, report)
    windows = read_encoded(session, reader, path, [])
    predictions = predict_windows(session, windows, report.num_rows)
    if output is not None:
        write_predictions(output, predictions, session, report)
        session.console.print(f"{report.num_rows:,} predictions written to {output}", style="dim")
        return
    for prompt, prediction in predictions:
        print_prediction(prompt, prediction, as_json)


def predict_texts(
    session: GenerationSession, texts: Sequence[str], is_raw: bool
) -> list[Prediction]:
    """The prediction for each typed prompt, in order."""
    reader = session.reader(is_raw)
    encoded = session.encode(
        [
            typed_prompt(reader, text, str(number), f"prompts[{number}]")
            for number, text in enumerate(texts)
        ]
    )
    for prompt in encoded:
        if isinstance(prompt, UserError):
            raise prompt
    return [prediction for _, prediction in predict_windows(session, [encoded], len(encoded))]


def typed_prompt(reader: PromptReader, text: str, id: str, where: str) -> Prompt:
    """The prompt that a typed text becomes; raises UserError if the text is blank.

    A prompt without a template may be white space.
    """
    prompt = Prompt(id, where, reader.typed(text), {"prompt": text})
    if not text or not prompt.has_text:
        raise UserError(f"{where}: the prompt is empty; give it at least one character")
    return prompt


def read_encoded(
    session: GenerationSession, reader: PromptReader, path: Path, left_out: list[str]
) -> Iterator[list[EncodedPrompt]]:
    """The encoded prompts of a file, WINDOW rows at a time.

    Raises UserError for an invalid row. With `data.skip_invalid`, such a row is left out, and its
    error is appended to `left_out`.
    """
    rows = iter(reader.read(path))
    while window := list(islice(rows, WINDOW)):
        encoded = iter(session.encode([row for row in window if isinstance(row, Prompt)]))
        results = [next(encoded) if isinstance(row, Prompt) else row for row in window]
        errors = [result for result in results if isinstance(result, UserError)]
        if errors and not session.data.skip_invalid:
            raise UserError(f"{errors[0]}; or skip such rows with {SKIP}")
        left_out += map(str, errors)
        yield [result for result in results if isinstance(result, EncodedPrompt)]


def predict_windows(
    session: GenerationSession, windows: Iterable[list[EncodedPrompt]], total: int
) -> Iterator[tuple[Prompt, Prediction]]:
    """Each prompt with its prediction, in order, while a bar counts up to `total`."""
    first_number = 0
    with counting(session.console, "rows", total) as advance:
        for window in windows:
            predictions = session.predict(window, first_number, advance)
            yield from zip([encoded.prompt for encoded in window], predictions, strict=True)
            first_number += len(window)


def show_report(session: GenerationSession, report: PromptReport) -> None:
    """Print to stderr the template, how many sources were truncated, and warnings."""
    template = session.task.template
    if report.uses_template and template:
        shown = json.dumps(template, ensure_ascii=False)
        session.console.print(
            f"prompt template: {shown}; --raw passes prompts as they are", style="dim"
        )
    if report.num_truncated:
        session.console.print(
            f"{report.num_truncated:,} of {report.num_rows:,} sources truncated to fit "
            f"{session.data.max_length} tokens",
            style="dim",
        )
    for warning in report.warnings():
        warning_console().print(f"warning: {warning}", style="yellow")


def write_predictions(
    path: Path,
    predictions: Iterable[tuple[Prompt, Prediction]],
    session: GenerationSession,
    report: PromptReport,
) -> None:
    """Write the predictions with all columns of the input, in the format of the file's name."""
    columns = output_columns(
        report.columns,
        has_labels=bool(session.labels),
        has_votes=session.generation.num_return_sequences > 1,
        has_references=report.has_references,
        is_table=path.suffix.lower() in TABLE_FORMATS,
    )
    write_rows(path, (output_row(*pair) for pair in predictions), columns)


def check_input(name: str) -> Path:
    """The file of prompts; raises UserError, before any work, if it cannot be read."""
    path = expand(name)
    row_files.check(path, "--input")
    return path


def check_predictions(name: str | None, rows: Path | None) -> Path | None:
    """The file to write; raises UserError, before any work, if it cannot be written.

    rows: The input file, which must be another one.
    """
    path = check_output(name)
    if path is not None:
        check_format(path)
        if rows is not None and path.exists() and path.samefile(rows):
            raise UserError(f"--output: {path} is the input; name another file")
    return path
