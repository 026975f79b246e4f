"""What is printed: no number is ever cut, however narrow the terminal."""

from io import StringIO

import pytest
from rich.console import Console

from llmkit import report
from llmkit.evaluation import EvaluationSet
from llmkit.tasks import get_task

TABLE = {
    "fine-tuned": {"rougeL": 64.16, "rouge1": 64.22, "rouge2": 41.46, "rougeLsum": 64.17},
    "copy of the source": {"rougeL": 15.01, "rouge1": 25.98, "rouge2": 6.99, "rougeLsum": 22.43},
}


@pytest.mark.parametrize("width", [24, 40, 60, 80, 200])
def test_scores_are_whole_at_any_width(width):
    console = Console(width=width, record=True, file=StringIO())
    rows = [{"id": "1"}]
    test = EvaluationSet(get_task("summarize"), rows, [], [], None)
    report.show_scores(console, test, TABLE)
    text = console.export_text()
    for scores in TABLE.values():
        for score in scores.values():
            assert f"{score:.2f}" in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
