"""The mix of sentence patterns from which sentence pairs are drawn."""

from __future__ import annotations

import random
from collections.abc import Callable

from .complex_sentences import (
    asking_what,
    because,
    condition,
    question,
    relative,
    request,
    shopping,
    that,
    two_clauses,
)
from .sentences import (
    Pair,
    being_somewhere,
    caption,
    comparison,
    copula,
    daily,
    doing,
    existence,
    giving,
    going,
    helping,
    introduction,
    liking,
    lying,
    price,
    weather,
)

WEIGHTS: dict[Callable[[random.Random], Pair], int] = {
    doing: 16,
    being_somewhere: 8,
    going: 8,
    giving: 6,
    helping: 4,
    daily: 5,
    liking: 4,
    copula: 6,
    comparison: 4,
    lying: 6,
    caption: 4,
    price: 5,
    because: 7,
    that: 5,
    condition: 4,
    weather: 3,
    introduction: 3,
    relative: 4,
    question: 6,
    asking_what: 4,
    request: 4,
    existence: 2,
    shopping: 4,
    two_clauses: 2,
}
BAG = [pattern for pattern, weight in WEIGHTS.items() for _ in range(weight)]


def draw_pair(rng: random.Random, low: int = 3, high: int = 16) -> Pair:
    """Draw a sentence pair with low to high English words."""
    while True:
        pair = rng.choice(BAG)(rng)
        if low <= len(pair.en.split()) <= high:
            return pair
