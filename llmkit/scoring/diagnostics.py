"""What scores do not tell of generated texts: whether they end, repeat, copy or recite.

All shares are in percent, over n-grams of N words or over rows.
"""

import re
from collections.abc import Iterable, Sequence

N = 4  # words of an n-gram that is repeated or copied (Welleck et al. 2019 count repeats of 4)
RECITED = 8  # words of one that is thought to be known by heart, not by chance


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All runs of n words, in lower case; punctuation is left out."""
    words = re.findall(r"\w+", text.lower())
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def diagnose(
    predictions: Sequence[str],
    ended: Sequence[bool] | None,
    references: Sequence[list[str]],
    prompts: Sequence[str],
    training_texts: Iterable[str],
) -> dict[str, float]:
    """Figures of a whole set. ended: whether each stopped by itself; None where nobody knows."""
    num_words = sum(len(ngrams(text, 1)) for text in predictions)
    expected = sum(len(ngrams(accepted[0], 1)) for accepted in references)
    figures = {
        "empty": share(not text.strip() for text in predictions),
        "length, of the references'": 100 * num_words / expected if expected else 0.0,
        "repeated": 100 * repeated_share(predictions),
        "copied from the prompt": 100 * copied_share(predictions, prompts),
        "found in training texts": 100 * recited_share(predictions, training_texts),
    }
    if ended is not None:
        figures = {"stopped by itself": share(ended), **figures}
    return figures


def share(marks: Iterable[bool]) -> float:
    """Percent of the marks that are set."""
    marks = list(marks)
    return 100 * sum(marks) / len(marks) if marks else 0.0


def repeated_share(texts: Sequence[str]) -> float:
    """Share of n-grams that stood before in the same text."""
    each = [ngrams(text, N) for text in texts]
    total = sum(map(len, each))
    return sum(len(grams) - len(set(grams)) for grams in each) / total if total else 0.0


def copied_share(texts: Sequence[str], sources: Sequence[str]) -> float:
    """Share of n-grams that stand in the text's own source."""
    total = found = 0
    for text, source in zip(texts, sources, strict=True):
        grams, known = ngrams(text, N), set(ngrams(source, N))
        total += len(grams)
        found += sum(gram in known for gram in grams)
    return found / total if total else 0.0


def recited_share(texts: Sequence[str], training_texts: Iterable[str]) -> float:
    """Share of long n-grams that stand in some training text, read one by one."""
    grams = [gram for text in texts for gram in ngrams(text, RECITED)]
    wanted, found = set(grams), set()
    for text in training_texts if wanted else ():
        found.update(wanted.intersection(ngrams(text, RECITED)))
    return sum(gram in found for gram in grams) / len(grams) if grams else 0.0
