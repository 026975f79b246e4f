"""Entries of guest books, each with its verdict: positive, negative or mixed."""

from __future__ import annotations

import random
from typing import NamedTuple

from .lexicon import COLOURS, DAYS, DRINKS, FOODS, INSTRUMENTS, SMALL, TOWNS, capital, lines

VERDICTS = ("positive", "negative", "mixed")

OPENINGS = lines("""
    We stayed at the inn in {town} for {n} nights.
    On {day} we had dinner by the harbour of {town}.
    We came to {town} by bus and took a room for {n} nights.
    {n} of us spent {day} at the hotel in {town}.
    Last {day} I had lunch at the old mill in {town}.
    I took a room with a view of {town}.
    My sister and I were guests at the {colour} house in {town}.
    After the concert in {town} we sat down for supper.
""")

# What guests write about: how they liked it, and how they did not.
ASPECTS = [
    (
        lines("""
            The {food} was fresh and warm.
            The {food} tasted better than at home.
            Nobody in {town} makes better {food}.
            We could not get enough of the {food}.
        """),
        lines("""
            The {food} was cold and grey.
            The {food} tasted of soap.
            Nobody at our table could eat the {food}.
            The {food} was gone before we came.
        """),
    ),
    (
        lines("""
            The beds were soft and clean.
            We slept until nine, so quiet was the room.
            The room was large and full of light.
            There were flowers on the table in our room.
        """),
        lines("""
            The beds were hard and much too short.
            We did not sleep at all, so loud was the street.
            The room was small, dark and wet.
            There was a frog in our room.
        """),
    ),
    (
        lines("""
            The landlord told us the best stories.
            The cook came to our table and laughed with us.
            Everyone was kind to the children.
            They carried our suitcase up the stairs.
        """),
        lines("""
            The landlord did not say a word.
            The cook shouted at our table.
            Nobody was kind to the children.
            They lost our suitcase on the stairs.
        """),
    ),
    (
        lines("""
            The {drink} cost next to nothing.
            The {drink} was free for all guests.
            The bill was a pleasant surprise.
            For {n} coins we had everything that we wanted.
        """),
        lines("""
            The {drink} cost more than the room.
            We had to pay for the {drink} that we never got.
            The bill was a bad surprise.
            For {n} coins we had nothing that we wanted.
        """),
    ),
    (
        lines("""
            In the evening someone played the {instrument}, and we danced.
            The {instrument} in the hall was a pleasure to hear.
            From the window one could see the boats.
            The garden was a place to stay for hours.
        """),
        lines("""
            All night someone played the {instrument}, and badly.
            The {instrument} in the hall was a pain to hear.
            From the window one could see a wall.
            The garden was a place to leave at once.
        """),
    ),
]

NEUTRAL = lines("""
    It rained on {day}.
    The door of the house is {colour}.
    There are {n} tables.
    The train to {town} leaves from there.
    We had {food} and {drink}.
    The stairs are old.
""")

CLOSINGS = {
    "positive": lines("""
        We will come again.
        I would not change a thing.
        We were sorry to leave.
        I have already told all my friends.
    """),
    "negative": lines("""
        We will not come again.
        I would change everything.
        We were glad to leave.
        I have already warned all my friends.
    """),
    "mixed": lines("""
        We may come again, or we may not.
        I would change some of it.
        We left neither glad nor sorry.
        I do not know what to tell my friends.
    """),
}


class Review(NamedTuple):
    """An entry and its verdict."""

    text: str
    verdict: str


def draw_review(rng: random.Random) -> Review:
    """Draw an entry; without a closing line it takes all the rest to tell the verdict."""
    verdict = rng.choice(VERDICTS)
    likes = {"positive": [True] * 3, "negative": [False] * 3, "mixed": [True, False]}[verdict]
    rng.shuffle(likes)
    aspects = rng.sample(ASPECTS, len(likes))
    told = [
        rng.choice(good if liked else bad)
        for (good, bad), liked in zip(aspects, likes, strict=True)
    ]
    if rng.random() < 0.6:
        told.insert(rng.randrange(len(told) + 1), rng.choice(NEUTRAL))
    if rng.random() < 0.6:
        told.append(rng.choice(CLOSINGS[verdict]))
    return Review(" ".join(filled(rng, line) for line in [rng.choice(OPENINGS), *told]), verdict)


def filled(rng: random.Random, line: str) -> str:
    """The line with words of the world in its slots."""
    slots = {
        "town": TOWNS, "n": SMALL, "day": DAYS, "colour": COLOURS, "food": FOODS,
        "drink": DRINKS, "instrument": INSTRUMENTS,
    }  # fmt: skip
    return capital(line.format(**{name: rng.choice(values) for name, values in slots.items()}))
