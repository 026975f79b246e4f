"""The project's metrics: one `evaluate.Metric` module a file, none of which needs a network.

Each file can also be given to `evaluate.load` by its path. All take `predictions`, a text a row,
and `references`, a list of accepted texts a row, and give scores from 0 to 100.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import evaluate


def compute(name: str, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Scores of the metric of that name (bleu, chrf, rouge or squad)."""
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    if any(isinstance(accepted, str) or not accepted for accepted in references):
        raise ValueError("references: each row needs a list of at least one text")
    metric = import_module(f"{__name__}.{name}").Metric(keep_in_memory=True)
    return metric.compute(predictions=predictions, references=references)


def describe(name: str) -> str:
    """The metric's settings in one line, as a paper would quote them."""
    return import_module(f"{__name__}.{name}").signature()


def transpose(references: list[list[str]]) -> list[list[str | None]]:
    """References of each row -> streams of first, second, ... references, as sacreBLEU wants."""
    most = max(len(accepted) for accepted in references)
    return [[row[i] if i < len(row) else None for row in references] for i in range(most)]


def metric_info(description: str, citation: str) -> "evaluate.MetricInfo":
    """What `evaluate` wants to know of a metric; the shapes are the same for all of ours."""
    import datasets
    import evaluate

    text = datasets.Value("string")
    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description="predictions: a text a row; references: a list of texts a row",
        features=datasets.Features({"predictions": text, "references": datasets.List(text)}),
    )
