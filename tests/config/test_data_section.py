"""The data section: names of splits and columns."""

import pytest
from pydantic import ValidationError

from llmkit.config.schema import Data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"streaming": True, "hub": "a/b", "train": "train"}, "streaming needs"),
        ({"validation": "rows.jsonl"}, "data.train is missing"),
        ({"train": "a", "tests": {"TEST": "b"}}, "choose a name"),
        ({"train": "a", "tests": {"x y": "b"}}, "choose a name"),
        ({"train": "a", "tests": {"hard": "b", "Hard": "c"}}, "choose a name"),
        ({"columns": {"text": 7}}, "text takes the name of a column, or a list of names"),
        ({"columns": {"test": {"text": []}}}, "test.text takes the name of a column"),
        ({"encoding": "klingon"}, "not a text encoding"),
    ],
)
def test_mistakes_in_the_data_section_are_refused(data, expected):
    with pytest.raises(ValidationError, match=expected):
        Data(**data)


def test_null_removes_a_column():
    assert Data(columns={"text": "body", "label": None}).columns == {"text": "body"}
