"""Properties of generated texts that scores do not show: whether they end, repeat, copy or recite.

All shares are in percent, of n-grams of words or of rows.
"""

import re
from collections.abc import Iterable, Sequence

from llmkit.metrics.prediction import Prediction

REPEAT_NGRAM = 4  # words of a repeated or copied n-gram (Welleck et al. 2019 count 4-grams)
RECITATION_NGRAM = 8  # words of an n-gram that is unlikely to match a training text by chance


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All n-grams of words, lowercased and without punctuation."""
    words = re.findall(r"\w+", text.lower())
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def diagnose(
    predictions: Sequence[Prediction],
    references: Sequence[list[str]],
    prompts: Sequence[str],
    training_texts: Iterable[str],
) -> dict[str, float]:
    """Compute the figures of a whole test set; of several samples per row, the first counts."""
    texts = [prediction.text for prediction in predictions]
    num_words = sum(len(ngrams(text, 1)) for text in texts)
    expected = sum(len(ngrams(accepted[0], 1)) for accepted in references)
    figures = {
        "empty": percent(not text.strip() for text in texts),
        "length, of the references'": 100 * num_words / expected if expected else 0.0,
        "repeated": 100 * repeated_share(texts),
        "copied from the prompt": 100 * copied_share(texts, prompts),
        "found in training texts": 100 * recited_share(texts, training_texts),
    }
    if all(prediction.ended is not None for prediction in predictions):
        ended = percent(bool(prediction.ended) for prediction in predictions)
        figures = {"stopped by itself": ended, **figures}
    return figures


def percent(flags: Iterable[bool]) -> float:
    """Percentage of the flags that are true."""
    flags = list(flags)
    return 100 * sum(flags) / len(flags) if flags else 0.0


def repeated_share(texts: Sequence[str]) -> float:
    """Share of n-grams that occur earlier in the same text."""
    ngrams_of_texts = [ngrams(text, REPEAT_NGRAM) for text in texts]
    total = sum(map(len, ngrams_of_texts))
    repeated = sum(len(grams) - len(set(grams)) for grams in ngrams_of_texts)
    return repeated / total if total else 0.0


def copied_share(texts: Sequence[str], sources: Sequence[str]) -> float:
    """Share of n-grams that occur in the text's own source."""
    total = found = 0
    for text, source in zip(texts, sources, strict=True):
        grams, in_source = ngrams(text, REPEAT_NGRAM), set(ngrams(source, REPEAT_NGRAM))
        total += len(grams)
        found += sum(gram in in_source for gram in grams)
    return found / total if total else 0.0


def recited_share(texts: Sequence[str], training_texts: Iterable[str]) -> float:
    """Share of long n-grams that occur in any training text; the texts are read one at a time."""
    grams = [gram for text in texts for gram in ngrams(text, RECITATION_NGRAM)]
    wanted, found = set(grams), set()
    for text in training_texts if wanted else ():
        found.update(wanted.intersection(ngrams(text, RECITATION_NGRAM)))
    return sum(gram in found for gram in grams) / len(grams) if grams else 0.0
