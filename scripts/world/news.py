"""News reports and their one-sentence summaries."""

from __future__ import annotations

import random
from string import Formatter
from typing import Any, NamedTuple

from .genre import Genre
from .lexicon import (
    AGES,
    ANIMALS,
    COLOURS,
    DAYS,
    DRINKS,
    FOODS,
    HUNDREDS,
    INSTRUMENTS,
    MONTHS,
    NUMBERS,
    PRICES,
    SMALL,
    TIMES,
    TOWNS,
    YEARS,
    capital,
    draw_people,
    lines,
    person_slots,
)
from .news_events import EVENTS
from .news_incidents import INCIDENTS
from .news_town import TOWN_NEWS

GENRES: list[Genre] = EVENTS + TOWN_NEWS + INCIDENTS

# Sentences that fit every report and hold nothing that a summary needs.
ANYWHERE = lines("""
    {y} from {town3} had expected something else.
    People in {town3} heard about it on {day2}.
    "That is all I know," said {y}.
    The local radio spoke about it for {n2} minutes.
    {y}, {num2}, read it in the paper.
    The paper from {town3} printed a long report.
    More will be known in {month}.
    A meeting about it is planned for {day2} at {time2}.
    Some people shook their heads, others were pleased.
    "You will hear from us," {y} promised.
    {y} wants to write a book about it.
    Nothing like this has been seen in {town3}.
    A photo of it hangs in the window of {y}.
    The weather was better in {town3}.
""")

# Slots that come in numbered variants (town, town2, ...), all different.
SERIES: dict[str, tuple[list[str], int]] = {
    "town": (TOWNS, 3),
    "day": (DAYS, 2),
    "time": (TIMES, 2),
    "n": (SMALL, 2),
    "num": (NUMBERS, 2),
    "big": (HUNDREDS, 2),
    "price": (PRICES, 2),
    "animal": (ANIMALS, 2),
    "instrument": (INSTRUMENTS, 2),
    "age": (AGES, 1),
    "years": (YEARS, 1),
    "colour": (COLOURS, 1),
    "month": (MONTHS, 1),
    "food": (FOODS, 1),
    "drink": (DRINKS, 1),
}


class Report(NamedTuple):
    """A news report, the sentence that sums it up, and the key facts one by one."""

    genre: str
    document: str
    summary: str
    notes: list[str]


class SlotFormatter(Formatter):
    """A formatter with the conversion ``!c``: write the value with a capital first letter."""

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        if conversion == "c":
            return capital(value)
        return super().convert_field(value, conversion)


FORMATTER = SlotFormatter()


def fill(template: str, slots: dict[str, str]) -> str:
    """Fill a sentence template; a sentence that starts with a slot gets a capital letter."""
    if "!c" in template:
        return capital(FORMATTER.vformat(template, (), slots))
    return capital(template.format_map(slots))


def draw_slots(rng: random.Random, genre: Genre) -> dict[str, str]:
    """Draw everything a report can mention, also the people and places that only distract."""
    slots: dict[str, str] = {}
    for prefix, person in zip("pxy", draw_people(rng, 3), strict=True):
        slots.update(person_slots(prefix, person))
    for name, (values, count) in SERIES.items():
        for number, value in enumerate(rng.sample(values, count), start=1):
            slots[name if number == 1 else f"{name}{number}"] = value
    high = rng.randrange(1, 8)
    slots["hi"], slots["lo"] = SMALL[high], SMALL[rng.randrange(high)]
    for name, values in genre.extra.items():
        text, _, short = rng.choice(values).partition("|")
        slots[name], slots[f"{name}_s"] = text, short or text
    return slots


def draw_report(rng: random.Random, low: int = 60, high: int = 110) -> Report:
    """Draw a report of low to high words in 6 to 9 sentences."""
    while True:
        genre = rng.choice(GENRES)
        slots = draw_slots(rng, genre)
        sentences = [fill(s, slots) for s in plan_sentences(rng, genre)]
        document = " ".join(sentences)
        if low <= len(document.split()) <= high:
            summary = fill(genre.summary, slots)
            return Report(genre.name, document, summary, key_facts(genre, slots))


def key_facts(genre: Genre, slots: dict[str, str]) -> list[str]:
    """What the summary names, fact by fact: "who: Mara Linden", "where: Yarrow", "sport: ..."."""
    labels = {"p": "who", "town": "where", "day": "when"}
    for name in genre.extra:
        labels |= {name: name, f"{name}_s": name}
    named = [field for _, field, _, _ in FORMATTER.parse(genre.summary)]
    return [f"{labels[slot]}: {slots[slot]}" for slot in named if slot in labels]


def plan_sentences(rng: random.Random, genre: Genre) -> list[str]:
    """Choose the sentence templates: an opener, the facts, and fillers in between."""
    facts = [rng.choice(wordings) for wordings in genre.facts]
    body = facts[1:]
    rng.shuffle(body)
    fillers = [rng.choice(ANYWHERE), *rng.sample(genre.fillers, rng.randrange(1, 3))]
    for filler in fillers[: 8 - len(facts)]:
        body.insert(rng.randrange(len(body) + 1), filler)
    return [rng.choice(genre.openers), facts[0], *body]
