"""A run of two steps, which the tests of several commands start from."""

import pytest
from runs import SHORT


@pytest.fixture
def finetune(llmkit, tiny_gpt2, rows):
    def run(*arguments):
        return llmkit(
            "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT, *arguments
        )

    return run
