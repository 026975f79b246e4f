"""Predictions for a prompt, the rows of a file, the lines of standard input, or Python strings."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile
from pathlib import Path

import click
from rich.console import Console

from llmkit.data.columns import SKIP
from llmkit.errors import UserError, count_of
from llmkit.generation.prompt_report import PromptReport, RowLocations
from llmkit.generation.prompts import EncodedPrompt, Prompt, PromptReader
from llmkit.generation.session import GenerationSession
from llmkit.io import row_files
from llmkit.io.row_lines import TABLE_FORMATS
from llmkit.io.row_writer import RowWriter, check_format, open_writer, write_rows
from llmkit.io.safe_json import to_json
from llmkit.io.standard_input import STANDARD_INPUT, read_lines
from llmkit.metrics.prediction import Prediction
from llmkit.paths import check_output, expand
from llmkit.reports.predictions import (
    output_columns,
    output_row,
    print_labels,
    print_prediction,
)
from llmkit.runtime.console import counting, make_console, print_generated, warning_console
from llmkit.runtime.signals import Stopped

# A trade-off: slots idle at the end of each window, and an interrupted window is generated again.
BATCHES_PER_WINDOW = 8


def generate_from_prompt(
    session: GenerationSession,
    text: str,
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for one prompt; print the prediction, as text or JSON, or write it to a file.

    Text is streamed to a terminal. Raises UserError if the prompt is empty or too long.

    Args:
        is_raw: Do not fill the prompt into the run's template.
        output: The file to write; None: print.
        as_json: Print one line of JSON.
    """
    prompt = session.reader(is_raw).build_prompt(text, "0", "--prompt")
    report = PromptReport()
    (encoded,) = encode_rows(session, [prompt])
    if isinstance(encoded, UserError):
        raise encoded
    report.add(encoded)
    show_report(session, report, is_raw)
    if output is None and not as_json and session.can_stream and sys.stdout.isatty():
        print_while_generated(session.stream(encoded))
        return
    predictions = zip([prompt], session.predict([encoded]), strict=True)
    ((_, prediction),) = warn_about_truncated(predictions, session)
    if output is not None:
        columns = output_columns_of(report, session, output)
        write_rows(output, [output_row(prompt, prediction)], columns)
        show_written(session, 1, output)
    elif prediction.probabilities and not as_json:
        advice = "; --output FILE writes all"
        print_labels(prediction.probabilities, session.console, advice)
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
    the input columns.

    The output is written row by row; an interrupted output is continued. The arguments are those of
    `generate_from_prompt`. Raises UserError for an invalid row, before anything is written.
    """
    reader, report = session.reader(is_raw), PromptReport()
    # Every row is read and encoded once before the first prediction, so that none fails later.
    for window in read_encoded(session, reader, path, report.left_out):
        for encoded in window:
            report.add(encoded)
    if not report.num_rows:
        raise UserError(next(iter(report.left_out.first), f"{path}: no rows in it"))
    show_report(session, report, is_raw)
    windows = read_encoded(session, reader, path, RowLocations())
    if output is None:
        # In a terminal, the predictions themselves show the progress.
        console = make_console(quiet=True) if sys.stdout.isatty() else session.console
        predictions = predict_windows(session, windows, report.num_rows, console)
        print_predictions(warn_about_truncated(predictions, session), as_json)
        return
    columns = output_columns_of(report, session, output)
    fingerprint = session.fingerprint(path, is_raw)
    with (
        open_writer(output, columns, fingerprint) as writer,
        explain_continuation(writer, report.num_rows),
    ):
        if writer.num_rows:
            session.console.print(f"continuing after {count_of(writer.num_rows, 'row')}")
        predictions = predict_windows(
            session, windows, report.num_rows, session.console, writer.num_rows
        )
        for prompt, prediction in warn_about_truncated(predictions, session):
            writer.append(output_row(prompt, prediction))
    show_written(session, report.num_rows, output)


def generate_from_lines(
    session: GenerationSession,
    chunks: Iterable[bytes],
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for each line of standard input; print each prediction, as text or JSON, as soon as
    it and all earlier ones are finished, or write all of them to a file.

    The arguments are those of `generate_from_prompt`, except for `chunks`, the bytes of standard
    input as they arrive. Raises UserError for an invalid line after printing those before it.
    """
    report = PromptReport()
    predictions = predict_lines(session, chunks, is_raw, report)
    predictions = warn_about_truncated(predictions, session)
    if output is not None:
        report.columns["prompt"] = None
        rows = (output_row(*pair) for pair in predictions)
        write_rows(output, rows, output_columns_of(report, session, output))
        show_written(session, report.num_rows, output)
    else:
        print_predictions(predictions, as_json)
    show_report(session, report, is_raw)


def predict_texts(
    session: GenerationSession, texts: Sequence[str], is_raw: bool
) -> list[Prediction]:
    """Predict for each text, in order. Raises UserError for a text that is blank or too long."""
    reader = session.reader(is_raw)
    prompts = [
        reader.build_prompt(text, str(number), f"prompts[{number}]")
        for number, text in enumerate(texts)
    ]
    encoded = encode_rows(session, prompts)
    for prompt in encoded:
        if isinstance(prompt, UserError):
            raise prompt
    windows = iter_windows(encoded, session)
    predictions = predict_windows(session, windows, len(encoded), session.console)
    return [prediction for _, prediction in predictions]


def iter_windows(rows: Iterable, session: GenerationSession) -> Iterator[list]:
    """Group the rows into windows that are generated together. A prediction may depend on the other
    rows of its window by rounding, but not on other windows."""
    rows = iter(rows)
    while window := list(islice(rows, BATCHES_PER_WINDOW * session.batch_size)):
        yield window


def encode_rows(
    session: GenerationSession, rows: Sequence[Prompt | UserError]
) -> list[EncodedPrompt | UserError]:
    """Encode the prompts. Errors stay; prompts that do not fit into the context become errors."""
    encoded = iter(session.encode([row for row in rows if isinstance(row, Prompt)]))
    return [next(encoded) if isinstance(row, Prompt) else row for row in rows]


def read_encoded(
    session: GenerationSession, reader: PromptReader, path: Path, left_out: RowLocations
) -> Iterator[list[EncodedPrompt]]:
    """Yield the encoded prompts of a file in windows.

    Raises UserError for an invalid row. With `data.skip_invalid`, invalid rows are skipped and
    their errors added to `left_out`.
    """
    for window in iter_windows(reader.read(path), session):
        valid, error = split_invalid(session, encode_rows(session, window), left_out)
        if error is not None:
            raise error
        yield valid


def split_invalid(
    session: GenerationSession, rows: list[EncodedPrompt | UserError], left_out: RowLocations
) -> tuple[list[EncodedPrompt], UserError | None]:
    """Return the valid rows before the first error, and that error. With `data.skip_invalid`,
    return all valid rows and None, and add the errors to `left_out`."""
    errors = [row for row in rows if isinstance(row, UserError)]
    if not errors or session.data.skip_invalid:
        for error in errors:
            left_out.add(str(error))
        return [row for row in rows if isinstance(row, EncodedPrompt)], None
    valid = list(takewhile(lambda row: isinstance(row, EncodedPrompt), rows))
    advice = f"; or skip such rows with {SKIP}" if len(errors) < len(rows) else ""
    return valid, UserError(f"{errors[0]}{advice}")


def predict_windows(
    session: GenerationSession,
    windows: Iterable[list[EncodedPrompt]],
    total: int,
    console: Console,
    num_done: int = 0,
) -> Iterator[tuple[Prompt, Prediction]]:
    """Yield each prompt with its prediction, in order, and show the progress.

    Args:
        total: Number of prompts.
        num_done: Number of prompts to skip at the beginning. The window of the first remaining
            prompt is generated as a whole, so that the predictions do not depend on this number.
    """
    first_number = 0
    with counting(console, "rows", total, num_done) as advance:
        for window in windows:
            num_skipped = max(0, num_done - first_number)
            if num_skipped < len(window):
                predictions = zip(window, session.predict(window, first_number), strict=True)
                for encoded, prediction in islice(predictions, num_skipped, None):
                    yield encoded.prompt, prediction
                    advance(1)
            first_number += len(window)


def predict_lines(
    session: GenerationSession, chunks: Iterable[bytes], is_raw: bool, report: PromptReport
) -> Iterator[tuple[Prompt, Prediction]]:
    """Yield the prompt of each line with its prediction, in order; blank lines are skipped.

    Raises UserError for an invalid line, after the predictions for the lines before it, and if all
    lines are blank.
    """
    reader, num_lines = session.reader(is_raw), 0
    max_lines = BATCHES_PER_WINDOW * session.batch_size
    for lines in read_lines(chunks, session.data.encoding, max_lines):
        rows: list[Prompt | UserError] = []
        for number, line, error in lines:
            if text := line.strip():
                where, id = f"{STANDARD_INPUT}:{number}", str(num_lines)
                rows.append(
                    error or Prompt(id, where, reader.segments_from_text(text), {"prompt": text})
                )
                num_lines += 1
        valid, error = split_invalid(session, encode_rows(session, rows), report.left_out)
        predictions = session.predict(valid, first_number=report.num_rows)
        for encoded, prediction in zip(valid, predictions, strict=True):
            yield encoded.prompt, prediction
            report.add(encoded)
        if error is not None:
            raise error
    if not report.num_rows:
        raise UserError(next(iter(report.left_out.first), f"{STANDARD_INPUT}: only blank lines"))


def warn_about_truncated(
    predictions: Iterable[tuple[Prompt, Prediction]], session: GenerationSession
) -> Iterator[tuple[Prompt, Prediction]]:
    """Pass the predictions on; warn at the end if any was truncated before meeting a constraint."""
    generation, num_truncated, num_all = session.generation, 0, 0
    for prompt, prediction in predictions:
        num_all += 1
        num_truncated += prediction.ended is False
        yield prompt, prediction
    if num_truncated and generation.constraint:
        warning_console().print(
            f"warning: {num_truncated:,} of {count_of(num_all, 'completion')} truncated after "
            f"{generation.max_new_tokens} tokens, before {generation.constraint} was met; "
            f"raise {session.limit_name}",
            style="yellow",
        )


def print_predictions(predictions: Iterable[tuple[Prompt, Prediction]], as_json: bool) -> None:
    """Print the predictions; warn at the end if some of them take several lines, since the lines of
    the output then do not match those of the input."""
    num_with_breaks, num_all = 0, 0
    for prompt, prediction in predictions:
        print_prediction(prompt, prediction, as_json)
        num_all += 1
        num_with_breaks += "\n" in prediction.text
    if num_with_breaks and num_all > 1 and not as_json:
        warning_console().print(
            f"warning: {num_with_breaks:,} of {num_all:,} predictions contain line breaks; --json "
            "prints each prediction on one line",
            style="yellow",
        )


def print_while_generated(pieces: Iterable[str]) -> None:
    """Print the pieces of a text as they arrive, and a line break at the end."""
    try:
        for piece in pieces:
            print_generated(piece, end="")
    finally:
        click.echo()


@contextmanager
def explain_continuation(writer: RowWriter, total: int) -> Iterator[None]:
    """Add advice on how to continue the file to an error or stop request in the block."""
    if writer.num_rows > total:
        raise UserError(
            f"{writer.partial}: has more rows than the input; delete it, or choose another --output"
        )
    try:
        yield
    except (Stopped, OSError, MemoryError, RuntimeError) as error:
        if writer.num_rows:
            rows = count_of(writer.num_rows, "row")
            error.advice = f"; run the same command again to continue after {rows}"
        raise


def show_written(session: GenerationSession, num_rows: int, output: Path) -> None:
    session.console.print(f"{count_of(num_rows, 'prediction')} written to {output}", style="dim")


def show_report(session: GenerationSession, report: PromptReport, is_raw: bool) -> None:
    """Print how the template was used, the number of truncated prompts, and warnings to stderr."""
    if template := session.task.template:
        shown = to_json(template, ensure_ascii=False)
        if report.uses_template:
            session.console.print(f"prompt template: {shown}; --raw disables it", style="dim")
        elif not is_raw and not session.reader(is_raw).fills_template:
            session.console.print(
                f"prompt template: {shown} has several inputs, so a prompt has to contain all of "
                "them; --input FILE fills in the columns of a file",
                style="dim",
            )
    if report.num_truncated:
        session.console.print(
            f"{report.num_truncated:,} of {report.num_rows:,} inputs truncated to fit "
            f"{session.data.max_length} tokens",
            style="dim",
        )
    for warning in report.warnings():
        warning_console().print(f"warning: {warning}", style="yellow")


def output_columns_of(report: PromptReport, session: GenerationSession, output: Path) -> list[str]:
    """Names of the output columns in its format: input columns, then results."""
    return output_columns(
        report.columns,
        has_labels=bool(session.labels),
        has_votes=session.generation.num_return_sequences > 1,
        has_references=report.has_references,
        is_table=output.suffix.lower() in TABLE_FORMATS,
    )


def check_input(name: str) -> Path:
    """The path of the input file; raises UserError if it cannot be read."""
    path = expand(name)
    row_files.check(path, "--input")
    return path


def check_predictions(name: str | None, rows: Path | None) -> Path | None:
    """The path of the output file; raises UserError if it cannot be written.

    rows: The input file, which must be a different file.
    """
    path = check_output(name)
    if path is not None:
        check_format(path)
        if rows is not None and path.exists() and path.samefile(rows):
            raise UserError(f"--output: {path} is the input file; choose another name")
    return path
