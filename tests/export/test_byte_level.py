"""Which tokenizers can be rebuilt from vocabulary and merges."""

import copy
import json

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from llmkit.export.byte_level import difference_from_byte_level, tokenizer_json
from llmkit.model.load import EMBEDDED_MODEL, load_tokenizer


@pytest.fixture(scope="module")
def parts():
    return tokenizer_json(load_tokenizer("embedded"))


def with_parts(parts):
    backend = Tokenizer.from_str(json.dumps(parts))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def test_the_embedded_tokenizer_is_byte_level():
    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED_MODEL)
    assert difference_from_byte_level(tokenizer) is None


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("normalizer", {"type": "Lowercase"}, "normalizer Lowercase"),
        ("pre_tokenizer", {"add_prefix_space": True}, "add_prefix_space True"),
        ("pre_tokenizer", {"use_regex": False}, "use_regex False"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer type 'Whitespace'"),
        ("model", {"ignore_merges": True}, "ignore_merges True"),
        ("model", {"byte_fallback": True}, "byte_fallback True"),
    ],
)
def test_a_difference_from_byte_level_bpe_is_named(parts, part, change, named):
    changed = copy.deepcopy(parts)
    changed[part] = {**(changed[part] or {}), **change}
    if change.get("type") == "Whitespace":
        changed[part] = change
    assert named in difference_from_byte_level(with_parts(changed))
