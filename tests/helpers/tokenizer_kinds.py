"""Tokenizers of every kind that a model may have."""

from collections.abc import Callable
from functools import cache

from rows import SHARED_DATA, TEXT
from tokenizers import (
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
    SentencePieceBPETokenizer,
    SentencePieceUnigramTokenizer,
    Tokenizer,
)
from transformers import GPT2Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from llmkit.constants import END_OF_TEXT
from llmkit.model.load import EMBEDDED_MODEL

TEXTS = [*TEXT, "北京市 第7号很好", "Größe: 3 €\n\n\tfür alle  ", "👍🏽 ok"]
TRAINED = {
    "byte-level": (ByteLevelBPETokenizer, {}),
    "WordPiece": (BertWordPieceTokenizer, {}),
    "Unigram": (SentencePieceUnigramTokenizer, {"unk_token": "<unk>"}),
    "SentencePiece BPE": (SentencePieceBPETokenizer, {}),
}


@cache
def train(kind: str) -> Tokenizer:
    make, settings = TRAINED[kind]
    tokenizer = make()
    tokenizer.train_from_iterator(TEXTS, vocab_size=300, show_progress=False, **settings)
    return tokenizer._tokenizer


def load_kinds() -> dict[str, Callable[[], PreTrainedTokenizerBase]]:
    """A function that loads each kind; those of GPT-2 only where its files are."""

    def trained(kind: str) -> PreTrainedTokenizerBase:
        return PreTrainedTokenizerFast(
            tokenizer_object=train(kind), eos_token=END_OF_TEXT, pad_token=None
        )

    kinds = {kind: cache(lambda kind=kind: trained(kind)) for kind in TRAINED}
    kinds["embedded"] = cache(lambda: PreTrainedTokenizerFast.from_pretrained(EMBEDDED_MODEL))
    gpt2 = SHARED_DATA / "gpt2-tokenizer"
    if gpt2.is_dir():
        kinds["GPT-2"] = cache(lambda: GPT2Tokenizer.from_pretrained(gpt2))
    return kinds
