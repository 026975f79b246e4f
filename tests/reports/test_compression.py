"""The table of a run's model and its smaller versions."""

from llmkit.reports.compression import ModelFigures, header, line, models_table
from llmkit.scoring.significance import Difference

FIRST = ModelFigures("float32", 4_360_000, 1_088_256, 99.211, (98.8, 99.6), None, 250.4, 1200)
CHANGE = Difference(-1.5, -2.25, -0.75, 0.002, 1.1)
SECOND = ModelFigures("int8", 1_240_000, 1_080_000, 97.711, None, CHANGE, 300, 1300)


def test_a_line_shows_the_score_and_its_paired_difference_with_intervals():
    assert line(FIRST) == [
        "float32", "1,088,256", "4.4 MB", "99.21\n98.8-99.6", "", "250", "1,200",
    ]  # fmt: skip
    assert line(SECOND)[3:5] == ["97.71", "-1.50\n-2.25 to -0.75"]
    assert header("rougeL")[3] == "ROUGE-L"
    few = ModelFigures("int8", 1, 1, None, None, Difference(-1.5), 1, 1)
    assert line(few)[3:5] == ["", "-1.50"]


def test_the_markdown_table_has_a_cell_for_each_column():
    lines = models_table("rougeL", [FIRST, SECOND]).splitlines()
    assert [text.count("|") for text in lines] == [8] * 4
