"""The outcome of pruning in one line, and as a plot."""

from xml.etree import ElementTree

import pytest

from llmkit.reports.compression import ModelFigures
from llmkit.reports.pruning import LABELS, PrunedRun, outcome, picture


def figures(name, score, interval=None, speed=100):
    return ModelFigures(name, 1000, 100, score, interval, None, speed, 4 * speed)


BEFORE = figures("before", 80.0, (78.0, 82.0))
PRUNED = {
    0.1: [figures("10% pruned", 60.0, (57.0, 63.0)), figures("10% recovered", 79.0)],
    0.125: [figures("12.5% pruned", 20.0), figures("12.5% recovered", 76.0, (74.0, 78.0), 130)],
}  # fmt: skip


def pruned_run(**changes):
    fields = {"method": "structured", "metric": "rougeL", "num_rows": 20, "num_steps": 200}
    return PrunedRun(**{**fields, "before": BEFORE, "pruned": PRUNED, **changes})


def test_the_outcome_is_relative_to_the_model_of_the_run():
    said = outcome(pruned_run(), PRUNED[0.125][1])
    assert "1.30 times the speed" in said
    assert "95.0% of the ROUGE-L after 200 steps" in said
    assert "ROUGE" not in outcome(pruned_run(), figures("undefined", None))


@pytest.mark.parametrize(
    "pruned",
    [PRUNED, {share: models[:1] for share, models in PRUNED.items()},
     {0.3: [figures("30% pruned", None)]}],
    ids=["recovered", "without recovery", "undefined"],
)  # fmt: skip
def test_the_plot_is_valid_and_shows_every_score(pruned):
    root = ElementTree.fromstring(picture(pruned_run(pruned=pruned)))
    points = root.findall("{http://www.w3.org/2000/svg}circle")
    shown = [v for models in pruned.values() for v in models if v.score is not None]
    num_lines = len(next(iter(pruned.values())))
    assert len(points) == len(shown) + num_lines  # each line starts at the model of the run
    heights = [float(point.get("cy")) for point in points]
    assert all(0 <= height <= 320 for height in heights)


def test_labels_do_not_cover_each_other():
    close = {0.1: [figures("10% pruned", 79.0), figures("10% recovered", 79.1)]}
    root = ElementTree.fromstring(picture(pruned_run(pruned=close)))
    labels = {each.text: float(each.get("y")) for each in root.iter() if each.text in LABELS}
    assert labels["pruned"] - labels["recovered"] >= 12
