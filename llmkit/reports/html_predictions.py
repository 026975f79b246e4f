"""Predictions on the report page: a selection of them, cut to page size, and their figures."""

import random
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from llmkit.scoring.results import SavedPrediction

NUM_SHOWN = 10  # predictions of each kind
MAX_CHARACTERS = 4000  # of a text on the page
MAX_TOKENS = 400  # of an expected text on the page
MAX_REFERENCES = 5  # of a row on the page
MAX_SAMPLE_STEPS = 8  # validations whose samples are shown
MAX_POINTS = 1000  # of a scatter plot


def select_predictions(
    predictions: list[SavedPrediction], higher_is_better: bool
) -> dict[str, list[dict[str, Any]]]:
    """The best, the worst and some random predictions, truncated to what a page can hold."""
    ranked = sorted(
        (p for p in predictions if p.score is not None),
        key=lambda prediction: prediction.score,
        reverse=higher_is_better,
    )
    drawn = random.Random(0).sample(predictions, min(NUM_SHOWN, len(predictions)))
    kinds = {"random": drawn, "best": ranked[:NUM_SHOWN], "worst": ranked[-NUM_SHOWN:][::-1]}
    return {
        kind: [truncate_texts(prediction) for prediction in of_kind]
        for kind, of_kind in kinds.items()
    }


def samples_by_step(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """A table of samples: the `steps` of the first, the last and some other validations, the
    `num_validations`, and `rows` with a prediction for each of these steps."""
    validations: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        validations.setdefault(line["step"], []).append(line)
    steps, count = list(validations), min(len(validations), MAX_SAMPLE_STEPS)
    shown = [steps[index * (len(steps) - 1) // max(1, count - 1)] for index in range(count)]
    samples = zip_longest(*(validations[step] for step in shown))
    rows = [sample_row(predictions) for predictions in samples]
    return {"steps": shown, "num_validations": len(steps), "rows": rows}


def sample_row(lines: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """A sample with its prediction at each validation; None where the file lacks it."""
    first = next(filter(None, lines))
    return {
        "prompt": truncate_text(first["prompt"]),
        "references": [truncate_text(text) for text in first["references"][:MAX_REFERENCES]],
        "predictions": [
            line and {"text": truncate_text(line["prediction"]), "p": line.get("probability")}
            for line in lines
        ],
    }


def text_lengths(predictions: list[SavedPrediction]) -> list[tuple[int, int]]:
    """Words of the first reference and of the prediction, of as many rows as a figure can show."""
    predictions = [p for p in predictions if p.references]
    drawn = random.Random(0).sample(predictions, min(MAX_POINTS, len(predictions)))
    return [(len(p.references[0].split()), len(p.prediction.text.split())) for p in drawn]


def certainty(predictions: list[SavedPrediction]) -> list[tuple[int, float]]:
    """(probability, share of the expected tokens with about this probability), both in percent."""
    tokens = [token for p in predictions for token in p.prediction.expected_tokens or ()]
    probabilities = [probability for _, probability in tokens if probability is not None]
    if not probabilities:
        return []
    counts, ends = np.histogram(probabilities, bins=10, range=(0, 1))
    shares = 100 * counts / counts.sum()
    return [
        (round(100 * end) + 5, share) for end, share in zip(ends[:-1], shares.tolist(), strict=True)
    ]


def truncate_texts(prediction: SavedPrediction) -> dict[str, Any]:
    """The line of predictions.jsonl, with long texts and lists truncated."""
    row = prediction.as_dict()
    texts = {name: truncate_text(value) for name, value in row.items() if isinstance(value, str)}
    return (
        row
        | texts
        | {
            "references": [truncate_text(text) for text in prediction.references[:MAX_REFERENCES]],
            "expected_tokens": row.get("expected_tokens", [])[:MAX_TOKENS],
        }
    )


def truncate_text(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} [...]"
