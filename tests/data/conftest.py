"""The tokenizer of the tiny model."""

import pytest


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    # pytest may read this file before it is configured, and so before the libraries are silenced.
    from llmkit.model.load import load_model

    return load_model(str(tiny_gpt2))[1]
