"""Predictions for new rows, printed or as rows of an output file."""

from collections.abc import Iterable

import click
from rich.console import Console

from llmkit.generation.prompts import Prompt
from llmkit.io.row_lines import OutputRow, json_line
from llmkit.metrics.prediction import Prediction
from llmkit.runtime.console import print_generated

MAX_LABELS = 10  # printed for one prompt


def output_row(prompt: Prompt, prediction: Prediction) -> OutputRow:
    """The input's columns and the prediction."""
    row = {"id": prompt.id, "prompt": prompt.text, **prompt.columns}
    row |= {"id": prompt.id, "prediction": prediction.text}
    if prediction.probabilities is not None:
        row["probabilities"] = prediction.probabilities
    if prediction.votes is not None:
        row["predictions"] = prediction.votes
    if prompt.references and "references" not in row:
        row["references"] = prompt.references
    return row


def output_columns(
    input_columns: Iterable[str],
    *,
    has_labels: bool,
    has_votes: bool,
    has_references: bool,
    is_table: bool,
) -> list[str]:
    """Names of the output's columns: those of the input, with `id` first if it has none, then the
    results.

    Tables, which people read in spreadsheets, omit `prompt` and `references`, which repeat the
    input.
    """
    columns = list(input_columns)
    if "id" not in columns:
        columns.insert(0, "id")
    columns += [] if is_table else ["prompt"]
    columns.append("prediction")
    if has_labels:
        columns.append("probabilities")
    elif has_votes:
        columns.append("predictions")
    if has_references and not is_table:
        columns.append("references")
    return list(dict.fromkeys(columns))


def print_prediction(prompt: Prompt, prediction: Prediction, as_json: bool) -> None:
    """Print a prediction as text, or as the line that --output FILE.jsonl would contain.

    As text, several samples are numbered, and a label is followed by its probability.
    """
    if as_json:
        click.echo(json_line(output_row(prompt, prediction)))
    elif prediction.probabilities:
        print_generated(f"{prediction.text}\t{prediction.probabilities[prediction.text]:.4f}")
    elif prediction.votes:
        for number, text in enumerate(prediction.votes, 1):
            print_generated(f"[{number}] {text}")
    else:
        print_generated(prediction.text)


def print_labels(probabilities: dict[str, float], console: Console, advice: str = "") -> None:
    """Print the most likely labels with their probabilities.

    advice: How to see the other labels.
    """
    ranked = sorted(probabilities.items(), key=lambda pair: -pair[1])
    for label, probability in ranked[:MAX_LABELS]:
        print_generated(f"{label}\t{probability:.4f}")
    num_more = len(ranked) - MAX_LABELS
    if num_more > 0:
        console.print(f"{num_more} more labels{advice}", style="dim")
