"""What is printed: no number is ever cut, however narrow the terminal."""

import pytest

from llmkit import report
from llmkit.console import make_console
from llmkit.evaluation import EvaluationSet
from llmkit.tasks import get_task

TABLE = {
    "fine-tuned": {"rougeL": 64.16, "rouge1": 64.22, "rouge2": 41.46, "rougeLsum": 64.17},
    "copy of the source": {"rougeL": 15.01, "rouge1": 25.98, "rouge2": 6.99, "rougeLsum": 22.43},
}


@pytest.mark.parametrize("width", [24, 40, 60, 80, 200])
def test_scores_are_whole_at_any_width(width):
    console = make_console()
    console.width = width
    test = EvaluationSet(get_task("summarize"), [{"id": "1"}], [], [], None, None)
    with console.capture() as captured:
        report.show_scores(console, test, TABLE)
    text = captured.get().replace(test.task.signature(), "")  # prose may wrap
    for scores in TABLE.values():
        for score in scores.values():
            assert f"{score:.2f}" in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
