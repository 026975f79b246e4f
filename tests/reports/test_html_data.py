"""The data of the report page: labels of runs, and what is cut to page size."""

import pytest

from llmkit.reports.html_data import (
    MAX_CURVE_POINTS,
    differing_settings,
    downsample,
    run_labels,
    short_names,
)


@pytest.mark.parametrize(
    ("recipes", "expected"),
    [
        ([{"seed": 0}, {"seed": 1}], ["seed=0", "seed=1"]),
        ([{"seed": 0}, {"seed": 0}], ["one", "two"]),
        ([{"train.n": 1e-4, "lora.n": [1, 2]}, {"train.n": None, "lora.n": [1]}],
         ["train.n=0.0001, lora.n=1,2", "train.n=null, lora.n=1"]),
        ([dict.fromkeys("abcd", 0), dict.fromkeys("abcd", 1)], ["one", "two"]),
        ([{"seed": 0}, {"seed": 1}, {"seed": 1}], ["one", "two", "three"]),
    ],
)  # fmt: skip
def test_runs_are_labeled_by_the_settings_that_differ(recipes, expected):
    names = ["one", "two", "three"][: len(recipes)]
    assert run_labels(names, differing_settings(recipes)) == expected


def test_runs_of_one_name_are_called_by_their_paths(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert short_names(paths) == [str(path) for path in paths]
    assert short_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]


def test_long_curves_are_thinned_out_on_the_page():
    points = [{"step": i} for i in range(5 * MAX_CURVE_POINTS + 3)]
    assert len(downsample(points)) <= MAX_CURVE_POINTS + 1
    assert downsample(points)[-1] == points[-1]
    assert downsample([]) == []
