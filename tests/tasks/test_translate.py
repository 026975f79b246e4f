"""Translation: languages that columns are named after."""

import pytest

from llmkit.tasks.translate import language_of


@pytest.mark.parametrize(
    ("column", "language"),
    [
        ("fr", "French"), ("fr_FR", "French"), ("pt-BR", "Portuguese"),
        ("translation.de", "German"),
        ("French", "French"), ("source", None), ("text", None), ("frx", None),
    ],
)  # fmt: skip
def test_a_column_may_be_named_after_its_language(column, language):
    assert language_of(column) == language
