"""A prompt that does not fit into the context with its completion is rejected with its location."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.config.generation import Generation
from llmkit.errors import UserError
from llmkit.generation.generate import generate
from llmkit.generation.label_likelihood import label_probabilities
from llmkit.generation.prompt_length import check_prompt_length
from llmkit.model.load import load_model


@pytest.fixture(scope="module")
def model():
    return GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=4, n_positions=10, vocab_size=9,
                                      bos_token_id=0, eos_token_id=0))  # fmt: skip


@pytest.mark.parametrize(("num_tokens", "num_new_tokens"), [(1, 9), (9, 1), (10, 0), (4, 4)])
def test_a_prompt_that_fills_the_positions_is_accepted(model, num_tokens, num_new_tokens):
    check_prompt_length("a.jsonl:3", num_tokens, num_new_tokens, model)


@pytest.mark.parametrize(
    ("num_tokens", "num_new_tokens", "message"),
    [
        (0, 1, "a.jsonl:3: the prompt is empty; give it at least one character"),
        (1, 10, "a.jsonl:3: 1 token and up to 10 new ones exceed the model's 10 positions; "
                "shorten the prompt or else"),
        (11, 0, "a.jsonl:3: 11 tokens and up to 0 new ones exceed the model's 10 positions; "
                "shorten the prompt or else"),
    ],
)  # fmt: skip
def test_an_empty_or_too_long_prompt_is_rejected(model, num_tokens, num_new_tokens, message):
    with pytest.raises(UserError) as refused:
        check_prompt_length("a.jsonl:3", num_tokens, num_new_tokens, model, " or else")
    assert str(refused.value) == message


def test_generation_and_labels_reject_a_long_prompt_alike(tiny_gpt2):
    model, tokenizer = load_model(str(tiny_gpt2))
    prompts, message = [[5], [5] * 126], r"prompt 2: 126 tokens and up to 3 new ones exceed"
    with pytest.raises(UserError, match=message):
        generate(model, tokenizer, prompts, Generation(max_new_tokens=3), 2)
    labels = {"short": [6, 2], "long": [6, 7, 8, 2]}  # whose last token is never read
    with pytest.raises(UserError, match=message):
        label_probabilities(model, prompts, labels, 2)
    assert label_probabilities(model, [[5] * 125], labels, 2)
