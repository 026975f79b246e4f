"""The process that opens an export."""

import numpy as np

from llmkit.export.answers import answers_in_fresh_process


def test_a_fresh_process_computes_what_the_run_computed(full):
    """A run's own folder is an export, too."""
    answers = answers_in_fresh_process("safetensors", full.source.folder, full.reference.questions)
    expected = full.reference.answers
    assert answers.tool.startswith("transformers ")
    assert np.allclose(answers.log_probabilities, expected.log_probabilities, atol=1e-4)
    assert answers.texts == expected.texts
    assert answers.tokens == expected.tokens
    assert answers.end_tokens == expected.end_tokens
