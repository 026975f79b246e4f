"""Lists of names with a value each, read out more than once in another order and another form.

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
    PRICES,
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
ROLL_WORDS += [*INSTRUMENTS, *JOBS, *OBJECTS, *SMALL, *NUMBERS, *PRICES]
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

    The words have nothing to do with each other and the lines differ in length, so that neither
    the words nor the distance tells what comes next, only what followed the last time.
    """
    lines = [rng.choice(ROLL_HEADINGS)]
    for _ in range(rng.randrange(3, 6)):
        said = rng.sample(ROLL_WORDS, rng.randrange(2, 12))
        lines.append(rng.choice([" ", " ", " ", ", "]).join(said * rng.randrange(2, 7)))
    return "\n".join(lines)


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


def draw_cards(rng: random.Random) -> str:
    """A card for each of several people, and look-ups that need both the name and the kind."""
    kinds = rng.sample(CARD_KINDS, rng.randrange(2, 4))
    names = rng.sample(WOMEN + MEN, rng.randrange(3, 6))
    columns = [rng.sample(pool, len(names)) for _, pool in kinds]
    cells = [
        (name, kind, columns[column][row])
        for row, name in enumerate(names)
        for column, (kind, _) in enumerate(kinds)
    ]
    cards = []
    for name in names:
        own = [f"{kind}: {value}" for who, kind, value in cells if who == name]
        cards.append(f"{name} – {', '.join(own)}.")
    form = rng.choice(CARD_FORMS)
    looked_up = rng.sample(cells, len(cells)) + rng.sample(cells, len(cells))
    told = [form.format(n=name, k=kind, v=value) for name, kind, value in looked_up[:14]]
    return f"{rng.choice(CARD_HEADINGS)}\n" + "\n".join(cards) + "\n" + " ".join(told)


def read(rng: random.Random, entries: list[tuple[str, str]], forms: list[str]) -> str:
    """All entries in one form."""
    form = rng.choice(forms)
    return " ".join(form.format(n=name, v=value) for name, value in entries).rstrip(";,") + (
        "" if form.endswith(".") else "."
    )
