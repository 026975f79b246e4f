"""Corpus TER (Snover et al. 2006), computed by sacreBLEU (Post 2018).

Lower is better; texts that have nothing in common may exceed 100. The setting `asian`, chosen for
references in Chinese and Japanese, counts their characters as words.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sacrebleu.metrics import TER

from llmkit.metrics import sacrebleu_scores, sacrebleu_statistics
from llmkit.metrics.prediction import Prediction
from llmkit.metrics.writing_systems import bleu_tokenizer, is_unspaced


def signature(settings: str = "western") -> str:
    """sacreBLEU's own signature of the last corpus scored."""
    if settings == "auto":
        return "TER tok:auto"
    return f"TER {scorer(settings).get_signature()}"


def resolve_settings(references: Sequence[list[str]], settings: str = "auto") -> str:
    """The setting; `auto` becomes `asian` or `western`, whichever fits the references."""
    if settings != "auto":
        return settings
    tokenizer = bleu_tokenizer(text for accepted in references for text in accepted)
    return "asian" if tokenizer in ("zh", "ja-mecab") else "western"


def misjudged_as(text: str, settings: str = "western") -> str | None:
    """The kind of finding for a reference that TER misjudges."""
    return "not segmented" if settings == "western" and is_unspaced(text) else None


@lru_cache
def scorer(settings: str) -> TER:
    """sacreBLEU's TER with default settings; Asian scripts also require its normalization."""
    is_asian = settings == "asian"
    return TER(normalized=is_asian, asian_support=is_asian)


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]], settings: str = "auto"
) -> np.ndarray:
    """Per row: edits from the closest reference, and the mean length of the references; words."""
    return sacrebleu_statistics(
        scorer(resolve_settings(references, settings)), predictions, references
    )


def scores(rows: np.ndarray, weights: np.ndarray, settings: str = "auto") -> dict[str, np.ndarray]:
    return {"ter": sacrebleu_scores(scorer("western"), rows, weights)}
