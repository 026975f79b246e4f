"""Sections of a recipe: strict, frozen and documented."""

import pytest
from pydantic import ValidationError

from llmkit.config.schema import Evaluation, Train


def test_unknown_keys_and_wrong_types_are_errors():
    for mistake in ({"epoch": 1}, {"epochs": "1"}, {"epochs": 1, "log_every": 1.0}):
        with pytest.raises(ValidationError):
            Train(**mistake)


def test_a_section_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Train(epochs=1).epochs = 2


def test_a_single_text_is_a_list_of_one():
    assert Evaluation(by="topic").by == ["topic"]
    assert Evaluation(by=["topic", "source"]).by == ["topic", "source"]


def test_the_text_under_a_field_is_its_documentation():
    assert Train.model_fields["epochs"].description.startswith("Number of passes")
