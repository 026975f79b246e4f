"""Which tokenizers other programs can rebuild from their vocabulary and merges alone."""

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

# Settings of `tokenizers` that change which tokens a byte-level BPE makes of a text.
PRE_TOKENIZER = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
MODEL = {
    "type": "BPE", "byte_fallback": False, "ignore_merges": False, "dropout": None,
    "continuing_subword_prefix": None, "end_of_word_suffix": None,
}  # fmt: skip


def parts_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The content of tokenizer.json."""
    return json.loads(tokenizer.backend_tokenizer.to_str())


def difference_from_byte_level(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """What distinguishes a tokenizer from a byte-level BPE that splits texts as that of GPT-2 does;
    None if nothing does."""
    parts = parts_of(tokenizer)
    if parts["normalizer"] is not None:
        return f"normalizer {parts['normalizer']['type']}"
    for name, expected in (("model", MODEL), ("pre_tokenizer", PRE_TOKENIZER)):
        found = parts[name] or {}
        for key, value in expected.items():
            if (found.get(key) or None) != (value or None):
                return f"{name} {key} {found.get(key)!r}"
    return None
