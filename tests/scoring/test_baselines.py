"""Baselines, and the agreement of references."""

import pytest

from llmkit.metrics.prediction import Prediction
from llmkit.scoring.baselines import score_references
from llmkit.tasks import TASKS


@pytest.mark.parametrize(("name", "better"), [("summarize", max), ("qa", max), ("translate", max)])
def test_the_best_reference_of_a_row_is_scored_against_the_others(name, better):
    task = TASKS[name]
    rows = [["a big cat sat here", "the big cat sat", "dogs"], ["alone"], ["one two", "two one"]]
    made = score_references(task, rows)
    assert list(made) == ["best of the references, 2 rows"]
    said = [each.text for each in made["best of the references, 2 rows"].predictions]
    metric = next(iter(task.scores))
    for accepted, best in zip((rows[0], rows[2]), said, strict=True):
        alone = {
            text: task.score([Prediction(text)], [[o for o in accepted if o is not text]])[metric]
            for text in accepted
        }
        assert alone[best] == better(alone.values())
    others = [
        [o for o in accepted if o != best]
        for accepted, best in zip((rows[0], rows[2]), said, strict=True)
    ]
    scores = task.score(list(map(Prediction, said)), others)
    assert made["best of the references, 2 rows"].scores == pytest.approx(scores)
    assert score_references(task, [["one"], ["two"]]) == {}
    assert score_references(TASKS["classify"], [["one", "two"]]) == {}
