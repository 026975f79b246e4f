"""Corpus BLEU (Papineni et al. 2002), computed by sacreBLEU (Post 2018).

Settings are `TOKENIZER` or `TOKENIZER:effective`. TOKENIZER is one of sacreBLEU's, or `auto` for
the one that fits the script of the references. `effective` averages over the n-gram orders that
occur, since answers of one to three words have no 4-grams and would all score 0.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.bleu import MAX_NGRAM_ORDER

from llmkit.errors import UserError
from llmkit.metrics import sacrebleu_scores, sacrebleu_statistics
from llmkit.metrics.prediction import Prediction
from llmkit.metrics.writing_systems import bleu_tokenizer, is_unspaced

UNSEGMENTED = ("13a", "intl", "none")  # tokenizers that need spaces between words
# What a tokenizer needs beside sacreBLEU, and how to get it.
EXTRAS = {
    "ja-mecab": "needs MeCab for Japanese: pip install 'sacrebleu[ja]'",
    "ko-mecab": "needs MeCab for Korean: pip install 'sacrebleu[ko]'",
    "flores200": (
        "needs sentencepiece (pip install sentencepiece) and, the first time, a network to "
        "download its model from"
    ),
}


def signature(settings: str = "13a") -> str:
    """sacreBLEU's own signature of the last corpus scored."""
    if settings.startswith("auto"):
        return "BLEU tok:auto"
    return f"BLEU {scorer(settings).get_signature()}"


def settle(references: Sequence[list[str]], settings: str = "auto") -> str:
    """The settings with the tokenizer for these references in place of `auto`."""
    tokenizer, *others = settings.split(":")
    if tokenizer == "auto":
        tokenizer = bleu_tokenizer(text for accepted in references for text in accepted)
    settled = ":".join([tokenizer, *others])
    scorer(settled)
    return settled


def unfit(text: str, settings: str = "13a") -> str | None:
    """The kind of finding for a reference that this score misjudges."""
    tokenizer, _, order = settings.partition(":")
    if tokenizer in UNSEGMENTED and is_unspaced(text):
        return "not segmented"
    has_four_grams = len(scorer(settings).tokenizer(text).split()) >= MAX_NGRAM_ORDER
    return None if has_four_grams or order == "effective" else "too short"


@lru_cache
def scorer(settings: str) -> BLEU:
    """Raises UserError if the tokenizer's libraries or files are missing."""
    tokenizer, _, order = settings.partition(":")
    try:
        return BLEU(tokenize=tokenizer, effective_order=order == "effective")
    except (ImportError, KeyError, RuntimeError, OSError) as error:
        needed = EXTRAS.get(tokenizer, f"cannot be opened ({error})")
        raise UserError(
            f"evaluation.bleu.tokenize: {tokenizer} {needed}; or set evaluation.bleu.tokenize=char"
        ) from None


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]], settings: str = "auto"
) -> np.ndarray:
    """Lengths of prediction and closest reference, n-grams that match, and n-grams."""
    return sacrebleu_statistics(scorer(settle(references, settings)), predictions, references)


def scores(rows: np.ndarray, weights: np.ndarray, settings: str = "auto") -> dict[str, np.ndarray]:
    order = settings.partition(":")[2]
    return {"bleu": sacrebleu_scores(scorer(f"13a:{order}"), rows, weights)}
