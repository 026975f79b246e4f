"""The tokenizer of the tiny model."""

import pytest

from llmkit.model.load import load_model


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    return load_model(str(tiny_gpt2))[1]
