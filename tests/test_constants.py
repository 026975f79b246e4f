"""Constants that other libraries define, too."""

import torch
from transformers import GPT2Tokenizer

from llmkit.constants import END_OF_TEXT, IGNORE_INDEX


def test_constants_are_those_of_the_libraries():
    assert torch.nn.CrossEntropyLoss().ignore_index == IGNORE_INDEX
    assert GPT2Tokenizer(vocab={END_OF_TEXT: 0}, merges=[]).eos_token == END_OF_TEXT
