"""Whether a tokenizer is a byte-level BPE that other programs can rebuild from its vocabulary and
merges alone."""

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

# The settings of GPT-2's tokenizer in tokenizer.json; others would tokenize texts differently.
PRE_TOKENIZER = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
MODEL = {
    "type": "BPE", "byte_fallback": False, "ignore_merges": False, "dropout": None,
    "continuing_subword_prefix": None, "end_of_word_suffix": None,
}  # fmt: skip


def tokenizer_json(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The content of tokenizer.json."""
    return json.loads(tokenizer.backend_tokenizer.to_str())


def difference_from_byte_level(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The first setting in which a tokenizer differs from the byte-level BPE of GPT-2; None
    if it does not."""
    parts = tokenizer_json(tokenizer)
    if parts["normalizer"] is not None:
        return f"normalizer {parts['normalizer']['type']}"
    for name, expected in (("model", MODEL), ("pre_tokenizer", PRE_TOKENIZER)):
        found = parts[name] or {}
        for key, value in expected.items():
            if (found.get(key) or None) != (value or None):  # false, null or missing: the default
                return f"{name} {key} {found.get(key)!r}"
    return None
