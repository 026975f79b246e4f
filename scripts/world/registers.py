"""Rolls of words, registers and cards: texts that say the same again in another order or form.

They give a small model many chances to look a word up in what it has just read.
"""

from __future__ import annotations

import random

from .lexicon import (
    AGES,
    ANIMALS,
    COLOURS,
    DAYS,
    DRINKS,
    FAMILIES,
    FOODS,
    INSTRUMENTS,
    JOBS,
    MEN,
    NUMBERS,
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
ROLL_HEADINGS = ["By heart:", "Say after me:", "The roll:", "Echo:", "Read aloud:"]
ROLL_WORDS = [*WOMEN, *MEN, *FAMILIES, *TOWNS, *ANIMALS, *COLOURS, *DAYS, *DRINKS, *FOODS]
ROLL_WORDS += [*INSTRUMENTS, *JOBS, *OBJECTS, *SMALL, *NUMBERS]
CARD_KINDS = [
    ("town", TOWNS),
    ("job", JOBS),
    ("colour", COLOURS),
    ("instrument", INSTRUMENTS),
    ("drink", DRINKS),
    ("food", FOODS),
    ("animal", ANIMALS),
    ("day", DAYS),
    ("age", AGES),
    ("family name", FAMILIES),
]
MAX_LOOK_UPS = 14  # on one page; more would make it too long for the corpus
CARD_HEADINGS = ["Cards:", "The file:", "From the card index:", "Entries:"]
CARD_FORMS = [
    "{k} of {n}: {v};",
    "The {k} of {n} is {v}.",
    "{n}, {k}? {v}.",
    "What is the {k} of {n}? {v}.",
    "Which {k} has {n}? {v}!",
]
AGAIN = ["Once more:", "Again:", "Read again:", "Checked:", "The same list:"]


def draw_roll(rng: random.Random) -> str:
    """Words said over and over, each line other words: the plainest reason to look back.

    The words have nothing to do with each other and the lines differ in length, so that only what
    followed a word the last time tells what comes next.
    """
    lines = [rng.choice(ROLL_HEADINGS)]
    for _ in range(rng.randrange(3, 6)):
        said = rng.sample(ROLL_WORDS, rng.randrange(2, 12))
        lines.append(rng.choice([" ", " ", " ", ", "]).join(said * rng.randrange(2, 7)))
    return "\n".join(lines)


def draw_register(rng: random.Random) -> str:
    """Draw a list of names with a value each, and two to four more readings of it."""
    heading, pool, sentences = rng.choice(SUBJECTS)
    count = min(rng.randrange(5, 9), len(pool))
    entries = list(zip(rng.sample(WOMEN + MEN, count), rng.sample(pool, count), strict=True))
    parts = [f"{heading}: {read(rng, entries, [*BARE, *sentences])}"]
    for _ in range(rng.randrange(2, 5)):
        if rng.random() < 0.7:  # else the same order: what follows a word follows it again
            rng.shuffle(entries)
        parts.append(f"{rng.choice(AGAIN)} {read(rng, entries, [*BARE, *sentences])}")
    return "\n".join(parts)


def draw_cards(rng: random.Random) -> str:
    """A card for each of several people, and look-ups that need both the name and the kind."""
    kinds = rng.sample(CARD_KINDS, rng.randrange(2, 4))
    names = rng.sample(WOMEN + MEN, rng.randrange(3, 6))
    columns = [rng.sample(pool, len(names)) for _, pool in kinds]
    cards, cells = [], []
    for name, *values in zip(names, *columns, strict=True):
        own = [(kind, value) for (kind, _), value in zip(kinds, values, strict=True)]
        cards.append(f"{name} – {', '.join(f'{kind}: {value}' for kind, value in own)}.")
        cells += [(name, kind, value) for kind, value in own]
    form = rng.choice(CARD_FORMS)
    asked = (rng.sample(cells, len(cells)) + rng.sample(cells, len(cells)))[:MAX_LOOK_UPS]
    told = [form.format(n=name, k=kind, v=value) for name, kind, value in asked]
    return f"{rng.choice(CARD_HEADINGS)}\n" + "\n".join(cards) + "\n" + " ".join(told)


def read(rng: random.Random, entries: list[tuple[str, str]], forms: list[str]) -> str:
    """All entries in one form."""
    form = rng.choice(forms)
    return " ".join(form.format(n=name, v=value) for name, value in entries).rstrip(";,") + (
        "" if form.endswith(".") else "."
    )
