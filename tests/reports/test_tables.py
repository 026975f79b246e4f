"""Scores and differences as the cells of a table."""

import pytest

from llmkit.reports.tables import difference_cell, markdown_table, score_cell, speed_cell
from llmkit.scoring.significance import Difference


@pytest.mark.parametrize(
    ("score", "interval", "expected"),
    [
        (99.211, (98.76, 99.6), "99.21\n98.8-99.6"),
        (1.384, (1.377, 1.391), "1.38\n1.38-1.39"),
        (9.9, (9.5, 10.26), "9.90\n9.50-10.3"),
        (12345.6, None, "12,346"),
        (3039.41, (964.78, 3116.47), "3,039\n964.8-3,116"),
        (0.0, None, "0.00"),
        (None, None, ""),
    ],
)
def test_an_interval_has_fewer_digits_than_its_score(score, interval, expected):
    assert score_cell(score, interval) == expected


def test_a_difference_has_a_sign_and_at_best_an_interval():
    assert difference_cell(Difference(-0.5, -1.25, 0.25, 0.3, 1.0)) == "-0.50\n-1.25 to +0.25"
    assert difference_cell(Difference(0.5)) == "+0.50"
    assert difference_cell(None) == ""


def test_a_cell_of_several_lines_is_one_cell_of_the_markdown_table():
    table = markdown_table(["", "F1"], [["this model", "71.00\n66.5-75.0"]])
    assert table == "|  | F1 |\n| --- | ---: |\n| this model | 71.00<br>66.5-75.0 |\n"


@pytest.mark.parametrize(("speed", "expected"), [(0.62, "0.6"), (9.96, "10"), (1234.4, "1,234")])
def test_the_speed_of_a_slow_model_has_a_decimal(speed, expected):
    assert speed_cell(speed) == expected
