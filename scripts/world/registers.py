"""Lists of names with a value each, read out more than once in another order and another form.

They give a small model many chances to look a word up in what it has just read.
"""

from __future__ import annotations

import random

from .lexicon import (
    ANIMALS,
    COLOURS,
    DAYS,
    DRINKS,
    FAMILIES,
    FOODS,
    INSTRUMENTS,
    JOBS,
    MEN,
    OBJECTS,
    SMALL,
    TOWNS,
    WOMEN,
)

# What is listed: the heading, the values, and sentences that say the same.
SUBJECTS = [
    ("Home towns", TOWNS, ["{n} lives in {v}.", "{n} comes from {v}.", "Who is from {v}? {n}."]),
    ("Jobs", JOBS, ["{n} is a {v}.", "{n} works as a {v}.", "Who is the {v}? {n}."]),
    ("Favourite colours", COLOURS, ["{n} likes {v}.", "{n} chose {v}.", "Who took {v}? {n}."]),
    ("The band", INSTRUMENTS, ["{n} plays the {v}.", "Who plays the {v}? {n}."]),
    ("Drinks", DRINKS, ["{n} drinks {v}.", "{n} ordered {v}.", "Who ordered {v}? {n}."]),
    ("For the picnic", FOODS, ["{n} brings {v}.", "Who brings {v}? {n}."]),
    ("Pets", ANIMALS, ["{n} keeps a {v}.", "{n} has a {v}.", "Who keeps a {v}? {n}."]),
    ("Arrivals", DAYS, ["{n} arrives on {v}.", "When does {n} arrive? On {v}."]),
    ("Lost things", OBJECTS, ["{n} lost a {v}.", "Who lost a {v}? {n}."]),
    ("Children", SMALL, ["{n} has {v} children.", "How many children has {n}? {v}."]),
    ("Family names", FAMILIES, ["{n} {v} is here.", "What is the family name of {n}? {v}."]),
]
BARE = ["{n} – {v};", "{n}: {v};", "{n} ({v}),", "{v} – {n};", "{n}, {v};"]
AGAIN = ["Once more:", "Again:", "Read again:", "Checked:", "The same list:"]


def draw_register(rng: random.Random) -> str:
    """Draw a list and two or three readings of it."""
    heading, pool, sentences = rng.choice(SUBJECTS)
    count = min(rng.randrange(5, 9), len(pool))
    entries = list(zip(rng.sample(WOMEN + MEN, count), rng.sample(pool, count), strict=True))
    parts = [f"{heading}: {read(rng, entries, [*BARE, *sentences])}"]
    for _ in range(rng.randrange(2, 5)):
        if rng.random() < 0.7:  # else the same order: what follows a word follows it again
            rng.shuffle(entries)
        parts.append(f"{rng.choice(AGAIN)} {read(rng, entries, [*BARE, *sentences])}")
    return "\n".join(parts)


def read(rng: random.Random, entries: list[tuple[str, str]], forms: list[str]) -> str:
    """All entries in one form."""
    form = rng.choice(forms)
    return " ".join(form.format(n=name, v=value) for name, value in entries).rstrip(";,") + (
        "" if form.endswith(".") else "."
    )
