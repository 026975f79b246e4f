"""The data section: names of splits and columns."""

import pytest
from pydantic import ValidationError

from llmkit.config.schema import Data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"streaming": True, "hub": "a/b", "train": "train"}, "streaming needs"),
        ({"validation": "rows.jsonl"}, "data.train is missing.*set it; data.train=embedded for"),
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


@pytest.mark.parametrize(
    ("data", "train", "names_others"),
    [
        ({}, "embedded", False),
        ({"train": None, "tests": {}}, "embedded", False),
        ({"train": "embedded", "test": "a.jsonl"}, "embedded", True),
        ({"train": "embedded", "tests": {"mine": "a.jsonl"}}, "embedded", True),
        ({"train": "a.jsonl", "test": "embedded"}, "a.jsonl", True),
        ({"train": ""}, "", True),
    ],
)
def test_a_recipe_that_names_no_rows_names_the_embedded_ones(data, train, names_others):
    data = Data(**data)
    assert data.train == train
    assert data.is_embedded == (train == "embedded")
    assert data.names_others == names_others


@pytest.mark.parametrize("data", [{"hub": "a/b"}, {"hub": "a/b", "test": "embedded"}])
def test_a_hub_data_set_has_no_default_split(data):
    with pytest.raises(ValidationError, match=r"data.train is missing: .* come from it; set it \["):
        Data(**data)


def test_a_split_of_the_hub_may_have_the_name_of_the_embedded_rows():
    assert not Data(hub="a/b", train="embedded").is_embedded


def test_null_removes_a_column():
    assert Data(columns={"text": "body", "label": None}).columns == {"text": "body"}
