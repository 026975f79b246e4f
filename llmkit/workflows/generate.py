"""The `generate` command: predictions for a prompt, or for the rows of a file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click

from llmkit.data.columns import SKIP
from llmkit.data.encode import encode_segments, truncate_prompt
from llmkit.errors import UserError
from llmkit.generation.predict import predict_prompts
from llmkit.generation.prompts import Prompt, PromptReader, Survey, has_text
from llmkit.generation.session import GenerationSession
from llmkit.io import row_files
from llmkit.io.row_writer import TABLES, OutputRow, check_format, json_line, write_rows
from llmkit.metrics.prediction import Prediction
from llmkit.paths import check_output, expand
from llmkit.runtime.console import counting, warning_console
from llmkit.tasks import Example

WINDOW = 2048  # rows that are read together and batched by length
MOST_LABELS = 10  # printed with their probability for one prompt


def complete_prompt(
    session: GenerationSession,
    text: str,
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for one prompt; print the prediction, as text or JSON, or write it to a file."""
    reader = session.reader(is_raw)
    prompt = Prompt("0", "--prompt", reader.typed(text), {"prompt": text})
    if not text or not has_text(prompt.segments):
        raise UserError("--prompt: the prompt is empty; give it at least one character")
    survey = Survey()
    (encoded,) = encode(session, [prompt])
    if isinstance(encoded, UserError):
        raise encoded
    survey.add(prompt, encoded.is_truncated)
    _say(session, survey)
    ((_, prediction),) = predict(session, [[encoded]], 1)
    if output is not None:
        write_rows(
            output, [_output_row(prompt, prediction)], _output_columns(survey, session, output)
        )
    elif as_json:
        _print_json(prompt, prediction)
    elif prediction.probabilities:
        ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        for label, probability in ranked[:MOST_LABELS]:
            click.echo(f"{label}\t{probability:.4f}")
        if len(ranked) > MOST_LABELS:
            num_more = len(ranked) - MOST_LABELS
            session.console.print(f"{num_more} more labels; --output FILE writes all", style="dim")
    else:
        _print(prediction)


def complete_file(
    session: GenerationSession,
    path: Path,
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for each row of a file; print the predictions, as text or JSON, or write them with
    all columns."""
    reader, survey = session.reader(is_raw), Survey()
    # Every row is read and encoded once before the first prediction, so that none fails later.
    for window in read_encoded(session, reader, path, survey.left_out):
        for encoded in window:
            survey.add(encoded.prompt, encoded.is_truncated)
    if not survey.num_rows:
        raise UserError(next(iter(survey.left_out), f"{path}: no rows in it"))
    _say(session, survey)
    predicted = predict(session, read_encoded(session, reader, path, []), survey.num_rows)
    if output is None:
        for prompt, prediction in predicted:
            if as_json:
                _print_json(prompt, prediction)
            else:
                _print(prediction)
        return
    rows = (_output_row(prompt, made) for prompt, made in predicted)
    write_rows(output, rows, _output_columns(survey, session, output))
    session.console.print(f"{survey.num_rows:,} predictions written to {output}", style="dim")


def predict_texts(
    session: GenerationSession, texts: Sequence[str], is_raw: bool
) -> list[Prediction]:
    """The prediction for each typed prompt, in order."""
    reader = session.reader(is_raw)
    prompts = [
        Prompt(str(number), f"prompts[{number}]", reader.typed(text), {"prompt": text})
        for number, text in enumerate(texts)
    ]
    encoded = encode(session, prompts)
    for each in encoded:
        if isinstance(each, UserError):
            raise each
    return [prediction for _, prediction in predict(session, [encoded], len(encoded))]


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt, as the model is given it."""

    prompt: Prompt
    ids: list[int]
    is_truncated: bool


def read_encoded(
    session: GenerationSession, reader: PromptReader, path: Path, left_out: list[str]
) -> Iterator[list[EncodedPrompt]]:
    """The encoded prompts of a file, WINDOW rows at a time.

    Raises UserError for an invalid row. With `data.skip_invalid`, such a row is left out, and what
    is wrong with it is appended to `left_out`.
    """
    rows = iter(reader.read(path))
    while window := list(islice(rows, WINDOW)):
        prompts = [row for row in window if isinstance(row, Prompt)]
        encoded = iter(encode(session, prompts))
        made = [next(encoded) if isinstance(row, Prompt) else row for row in window]
        errors = [row for row in made if isinstance(row, UserError)]
        if errors and not session.recipe.data.skip_invalid:
            raise UserError(f"{errors[0]}; or skip such rows with {SKIP}")
        left_out += map(str, errors)
        yield [row for row in made if isinstance(row, EncodedPrompt)]


def encode(session: GenerationSession, prompts: list[Prompt]) -> list[EncodedPrompt | UserError]:
    """Token ids of the prompts; sources and conversations are truncated as in training.

    In place of a prompt that does not fit the model together with its completion stands what is
    wrong with it.
    """
    examples = [Example(str(p.id), p.segments, "", [], p.where) for p in prompts]
    longest = session.recipe.data.max_length - session.max_new_tokens
    num_positions = session.model.config.max_position_embeddings
    encoded: list[EncodedPrompt | UserError] = []
    for prompt, (_, ids) in zip(prompts, encode_segments(examples, session.tokenizer), strict=True):
        whole = sum(map(len, ids))
        # A prompt without a source to truncate is passed whole if it fits the model.
        kept = truncate_prompt(prompt.segments, ids[:-1], longest) or ids[:-1]
        tokens = [token for segment in kept for token in segment]
        if not tokens:
            encoded.append(
                UserError(f"{prompt.where}: the prompt is empty; give it at least one character")
            )
        elif len(tokens) + session.max_new_tokens > num_positions:
            encoded.append(
                UserError(
                    f"{prompt.where}: {len(tokens)} tokens and up to {session.max_new_tokens} new "
                    f"ones exceed the model's {num_positions} positions; shorten the prompt or "
                    "lower --max-new-tokens"
                )
            )
        else:
            encoded.append(EncodedPrompt(prompt, tokens, is_truncated=len(tokens) < whole))
    return encoded


def predict(
    session: GenerationSession, windows: Iterable[list[EncodedPrompt]], total: int
) -> Iterator[tuple[Prompt, Prediction]]:
    """Each prompt with its prediction, in order; within a window, prompts of similar length share
    a batch."""
    batch_size, first = session.recipe.evaluation.batch_size, 0
    with counting(session.console, "rows", total) as advance:
        for window in windows:
            ids = [encoded.ids for encoded in window]
            order = sorted(range(len(ids)), key=lambda index: len(ids[index]), reverse=True)
            made: dict[int, Prediction] = {}
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                with session.accelerator.autocast():
                    answers = predict_prompts(
                        session.model,
                        session.tokenizer,
                        [ids[index] for index in batch],
                        session.labels,
                        session.recipe.generation,
                        batch_size,
                        session.seed,
                        [first + index for index in batch],
                    )
                made |= dict(zip(batch, answers, strict=True))
                advance(len(batch))
            yield from ((encoded.prompt, made[index]) for index, encoded in enumerate(window))
            first += len(window)


def _say(session: GenerationSession, survey: Survey) -> None:
    """Print to stderr the template, how many sources were truncated, and warnings."""
    console, task = session.console, session.task
    if survey.uses_template and task.template:
        shown = json.dumps(task.template, ensure_ascii=False)
        console.print(f"prompt template: {shown}; --raw passes prompts as they are", style="dim")
    if survey.num_shortened:
        console.print(
            f"{survey.num_shortened:,} of {survey.num_rows:,} sources truncated to fit "
            f"{session.recipe.data.max_length} tokens",
            style="dim",
        )
    for warning in survey.warnings():
        warning_console().print(f"warning: {warning}", style="yellow")


def _output_row(prompt: Prompt, made: Prediction) -> OutputRow:
    row = {"id": prompt.id, "prompt": prompt.text, **prompt.columns}
    row |= {"id": prompt.id, "prediction": made.text}
    if made.probabilities is not None:
        row["probabilities"] = made.probabilities
    if made.votes is not None:
        row["predictions"] = made.votes
    if prompt.references and "references" not in row:
        row["references"] = prompt.references
    return row


def _output_columns(survey: Survey, session: GenerationSession, output: Path) -> list[str]:
    """The input's columns, with `id` first if they lack one, then the results.

    Tables, which people read in spreadsheets, omit `prompt` and `references`, which repeat the
    input.
    """
    is_table = output.suffix.lower() in TABLES
    columns = list(survey.columns if "id" in survey.columns else ["id", *survey.columns])
    columns += [] if is_table else ["prompt"]
    columns.append("prediction")
    if session.labels:
        columns.append("probabilities")
    elif session.recipe.generation.num_return_sequences > 1:
        columns.append("predictions")
    if survey.has_references and not is_table:
        columns.append("references")
    return list(dict.fromkeys(columns))


def _print_json(prompt: Prompt, made: Prediction) -> None:
    """Print the line that --output FILE.jsonl would hold."""
    click.echo(json_line(_output_row(prompt, made)))


def _print(made: Prediction) -> None:
    """Print the text; several samples are numbered, a label comes with its probability."""
    if made.probabilities:
        click.echo(f"{made.text}\t{made.probabilities[made.text]:.4f}")
    elif made.votes:
        for number, text in enumerate(made.votes, 1):
            click.echo(f"[{number}] {text}")
    else:
        click.echo(made.text)


def check_input(name: str) -> Path:
    """The file of prompts; UserError, before any work, when it cannot be read."""
    path = expand(name)
    row_files.check(path, "--input")
    return path


def check_predictions(name: str | None, rows: Path | None) -> Path | None:
    """The file to write. Raises UserError, before any work, if it cannot be written."""
    path = check_output(name)
    if path is not None:
        check_format(path)
        if rows is not None and path.exists() and path.samefile(rows):
            raise UserError(f"--output: {path} is the input; name another file")
    return path
