"""Corpus BLEU (Papineni et al. 2002), computed by sacreBLEU (Post 2018).

Settings are `TOKENIZER` or `TOKENIZER:effective`. TOKENIZER is one of sacreBLEU's, or `auto` for
the one that fits the script of the references. `effective` averages only over the n-gram orders
that occur: answers of one to three words have no 4-grams and would all score 0.
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

SPACE_TOKENIZERS = ("13a", "intl", "none")  # tokenizers that need spaces between words
# What a tokenizer needs in addition to sacreBLEU, and how to get it.
TOKENIZER_REQUIREMENTS = {
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


def resolve_settings(references: Sequence[list[str]], settings: str = "auto") -> str:
    """The settings with the tokenizer that fits the references in place of `auto`."""
    tokenizer, *others = settings.split(":")
    if tokenizer == "auto":
        tokenizer = bleu_tokenizer(text for accepted in references for text in accepted)
    resolved = ":".join([tokenizer, *others])
    scorer(resolved)  # raises UserError for a tokenizer that is not installed
    return resolved


def misjudged_as(text: str, settings: str = "13a") -> str | None:
    """The kind of finding for a reference that BLEU misjudges."""
    tokenizer, _, order = settings.partition(":")
    if tokenizer in SPACE_TOKENIZERS and is_unspaced(text):
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
        needed = TOKENIZER_REQUIREMENTS.get(tokenizer, f"cannot be opened ({error})")
        raise UserError(
            f"evaluation.bleu.tokenize: {tokenizer} {needed}; or set evaluation.bleu.tokenize=char"
        ) from None


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]], settings: str = "auto"
) -> np.ndarray:
    """Per row: lengths of prediction and closest reference, matching n-grams, and all n-grams."""
    return sacrebleu_statistics(
        scorer(resolve_settings(references, settings)), predictions, references
    )


def scores(rows: np.ndarray, weights: np.ndarray, settings: str = "auto") -> dict[str, np.ndarray]:
    order = settings.partition(":")[2]
    return {"bleu": sacrebleu_scores(scorer(f"13a:{order}"), rows, weights)}
