"""The answers of programs, in this process and in one of their own."""

import math

import numpy as np
import pytest
import torch

from llmkit.export.answers import (
    Answers,
    CannotOpen,
    Original,
    answers_in_fresh_process,
    count_tokens,
)


@pytest.fixture
def original(full):
    return Original(full.source.model, full.source.tokenizer)


def test_the_likelihood_of_tokens(original):
    row = [5, 9, 77, 3, 0]
    with torch.inference_mode():
        logits = original.model(torch.tensor([row])).logits[0]
    chances = logits.double().log_softmax(-1)
    expected = -sum(chances[index - 1, row[index]].item() for index in (2, 3, 4))
    assert sum(original.nats(row, [2, 3, 4])) == pytest.approx(expected, rel=1e-6)


def test_probabilities_at_some_positions_are_those_of_the_whole_row(original):
    row = list(range(20))
    every = original.log_probabilities(row, list(range(20)))
    assert np.allclose(np.exp(every).sum(-1), 1, atol=1e-5)
    assert np.allclose(original.log_probabilities(row, [3, 19]), every[[3, 19]], atol=1e-6)


def test_a_token_that_ends_a_completion_counts():
    assert count_tokens([[1, 2], [1, 2, 3], []], 3) == 3 + 3 + 1


def test_answers_survive_the_file(full, tmp_path):
    answers = full.reference.answers
    answers.write(tmp_path)
    read = Answers.read(tmp_path)
    assert np.array_equal(read.log_probabilities, answers.log_probabilities)
    assert (read.texts, read.tokens, read.nats) == (answers.texts, answers.tokens, answers.nats)
    assert read.tool.startswith("llmkit ")
    assert math.isfinite(read.tokens_per_second)


def test_a_folder_that_is_no_model_cannot_be_opened(full, tmp_path):
    with pytest.raises(CannotOpen, match=r"Error: .*config\.json|Error: .*model_type"):
        answers_in_fresh_process("safetensors", tmp_path, full.reference.questions)
