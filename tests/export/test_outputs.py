"""The outputs of a program, and their file."""

import math

import numpy as np

from llmkit.export.outputs import Outputs, count_tokens


def test_a_token_that_ends_a_completion_counts():
    assert count_tokens([[1, 2], [1, 2, 3], []], 3) == 3 + 3 + 1


def test_outputs_survive_the_file(full, tmp_path):
    outputs = full.original.outputs
    outputs.write(tmp_path)
    read = Outputs.read(tmp_path)
    assert np.array_equal(read.log_probabilities, outputs.log_probabilities)
    assert (read.completions, read.nll) == (outputs.completions, outputs.nll)
    assert read.tokenized_texts == outputs.tokenized_texts
    assert read.tool.startswith("llmkit ")
    assert math.isfinite(read.tokens_per_second)
