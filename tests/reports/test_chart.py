"""Positions on charts, and the files they are drawn in."""

from xml.etree import ElementTree

import pytest

from llmkit.reports.chart import Chart, Margins, text

CHART = Chart(200, 100, Margins(left=30, right=10, top=5, bottom=15), (1.0, 100.0), (2.0, 4.0))
LOG_CHART = Chart(200, 100, CHART.margins, CHART.x_range, CHART.y_range, is_x_log=True)


@pytest.mark.parametrize("chart", [CHART, LOG_CHART], ids=["linear", "logarithmic"])
def test_the_ends_of_the_ranges_lie_on_the_edges(chart):
    assert [chart.x(value) for value in chart.x_range] == [30, 190]
    assert [chart.y(value) for value in chart.y_range] == [85, 5]


def test_the_middle_of_a_logarithmic_axis_is_the_geometric_mean():
    assert LOG_CHART.x(10) == pytest.approx((30 + 190) / 2)
    assert CHART.x(50.5) == pytest.approx((30 + 190) / 2)


def test_equal_ends_of_a_range_have_a_position():
    chart = Chart(200, 100, CHART.margins, (3.0, 3.0), (2.0, 2.0))
    assert (chart.x(3.0), chart.y(2.0)) == (30, 85)


def test_the_file_is_valid_whatever_its_words():
    words = 'a < b & "c"'
    parts = [*CHART.grid([2, 3], digits=1), CHART.x_label(1, words), CHART.x_title(words)]
    root = ElementTree.fromstring(CHART.svg(words, [*parts, text(0, 0, words)]))
    shown = [each.text for each in root.iter() if each.tag.endswith(("text", "title"))]
    assert shown == [words, "2.0", "3.0", words, words, words]
    assert CHART.points([(1, 2), (100, 4)]) == "30.0,85.0 190.0,5.0"
