"""Portraits of people and places, questions about them, and quizzes in prose."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .attribute import Attribute
from .lexicon import TOWNS, Person, article, capital, draw_people, lines
from .person_attributes import CLASHES, PERSON_ATTRIBUTES
from .place_attributes import THING_ATTRIBUTES, THING_NAMES

OPENINGS = lines("""
    {Count} guests met at the same table in {place}.
    The club in {place} has {count} new members.
    {Count} old friends came together again.
    This week {count} new neighbours moved in.
    In the waiting room sat {count} people.
    The paper tells us about {count} people from the choir.
    {Count} travellers shared a room in {place}.
    At the long table in {place} there were {count} of them.
    A party is a good way to get to know {count} people at once.
    The small hotel in {place} had {count} guests.
    {Count} cousins met for the first time in years.
    Who are the {count} people in the photo?
""")
THING_OPENINGS = lines("""
    The guide for visitors names {count} places.
    There are {count} places that one should know.
    {Count} places are very popular this summer.
    A walk leads past {count} places.
    Those who travel here should see {count} places.
    On the map {count} places are marked.
""")
CLOSINGS = lines("""
    It was late when the last lamp went out.
    They want to meet again soon.
    Nobody wanted to go home.
    There was a lot to talk about.
    Outside it was raining.
    A photo was taken in the garden.
    The soup was still warm.
    It was a long and friendly evening.
""")
THING_CLOSINGS = lines("""
    A good map helps.
    In winter some of this changes.
    It is best to come early.
    Most visitors stay for a whole day.
    The bus stops nearby.
    Children like all of them.
""")
COUNTS = {3: "three", 4: "four"}


@dataclass(frozen=True)
class Fact:
    """One attribute of one subject with its value."""

    subject: int
    attribute: Attribute
    value: str


@dataclass
class Portrait:
    """A text about several people or things, and the facts it states."""

    subjects: list[Person] | list[str]
    facts: list[Fact]
    text: str

    def name(self, index: int, full: bool = False) -> str:
        """The short or full name of a subject."""
        subject = self.subjects[index]
        if isinstance(subject, str):
            return subject
        return subject.full if full else subject.first


def choose_attributes(rng: random.Random, pool: list[Attribute], count: int) -> list[Attribute]:
    """Choose attributes that do not clash with each other."""
    while True:
        chosen = rng.sample(pool, count)
        names = {attribute.name for attribute in chosen}
        if not any(clash <= names for clash in CLASHES):
            return chosen


def wording(rng: random.Random, fact: Fact, name: str) -> str:
    """State a fact as a sentence of its own."""
    value = {"v": fact.value, "av": f"{article(fact.value)} {fact.value}"}
    if rng.random() < 0.2:
        template = rng.choice(fact.attribute.sentences)
        return capital(template.format(N=name, n=name, **value))
    return capital(f"{name} {phrase(rng, fact)}.")


def phrase(rng: random.Random, fact: Fact) -> str:
    """State a fact as a verb phrase."""
    template = rng.choice(fact.attribute.phrases)
    return template.format(v=fact.value, av=f"{article(fact.value)} {fact.value}")


class Writer:
    """Writes the facts of a portrait; the first mention of a person uses the full name."""

    def __init__(self, rng: random.Random, portrait: Portrait) -> None:
        self.rng = rng
        self.portrait = portrait
        self.seen: list[int] = []

    def name(self, index: int) -> str:
        """The name to use now."""
        first = index not in self.seen
        self.seen.append(index)
        return self.portrait.name(index, full=first)

    def by_subject(self) -> list[str]:
        """One sentence or two per subject."""
        sentences = []
        for index in range(len(self.portrait.subjects)):
            facts = [f for f in self.portrait.facts if f.subject == index]
            self.rng.shuffle(facts)
            start = f"{self.name(index)} {phrase(self.rng, facts[0])}"
            if self.rng.random() < 0.5:
                sentences.append(capital(f"{start} and {phrase(self.rng, facts[1])}."))
            else:
                sentences.append(capital(f"{start}."))
                sentences.append(wording(self.rng, facts[1], self.name(index)))
        return sentences

    def by_attribute(self) -> list[str]:
        """All subjects for one attribute, then all for the next, each time in another order."""
        sentences = []
        for facts in self._rounds():
            if self.rng.random() < 0.4:
                sentences.append(self._joined(facts))
            else:
                sentences += [wording(self.rng, f, self.name(f.subject)) for f in facts]
        return sentences

    def _rounds(self) -> list[list[Fact]]:
        names = list(dict.fromkeys(f.attribute.name for f in self.portrait.facts))
        rounds = [[f for f in self.portrait.facts if f.attribute.name == n] for n in names]
        for facts in rounds:
            self.rng.shuffle(facts)
        return rounds

    def _joined(self, facts: list[Fact]) -> str:
        """One sentence for a whole round: "Mara ..., Ivo ..., and Lena ..."."""
        parts = [f"{self.name(f.subject)} {phrase(self.rng, f)}" for f in facts]
        return capital(f"{', '.join(parts[:-1])}, and {parts[-1]}.")

    def mixed(self) -> list[str]:
        """Every fact as its own sentence in a random order."""
        facts = list(self.portrait.facts)
        self.rng.shuffle(facts)
        return [wording(self.rng, f, self.name(f.subject)) for f in facts]


def draw_subjects(rng: random.Random, count: int, things: bool) -> list[Person] | list[str]:
    """Draw the people or the places that a portrait is about."""
    return rng.sample(THING_NAMES, count) if things else draw_people(rng, count)


def draw_facts(rng: random.Random, count: int, things: bool) -> list[Fact]:
    """Draw two attributes with a different value for every subject."""
    pool = THING_ATTRIBUTES if things else PERSON_ATTRIBUTES
    facts = []
    taken: list[str] = []
    for attribute in choose_attributes(rng, pool, 2):
        values = attribute.values or [person.full for person in draw_people(rng, count)]
        free = [value for value in values if value not in taken]
        chosen = rng.sample(free, count)
        taken += chosen
        facts += [Fact(i, attribute, value) for i, value in enumerate(chosen)]
    return facts


def draw_portrait(rng: random.Random, low: int = 40, high: int = 80) -> Portrait:
    """Draw a portrait of low to high words."""
    while True:
        things = rng.random() < 0.25
        count = 3 if rng.random() < 0.4 else 4
        portrait = Portrait(draw_subjects(rng, count, things), draw_facts(rng, count, things), "")
        writer = Writer(rng, portrait)
        body = rng.choice([writer.by_subject, writer.by_attribute, writer.mixed])()
        opening = rng.choice(THING_OPENINGS if things else OPENINGS)
        opening = opening.format(
            count=COUNTS[count], Count=capital(COUNTS[count]), place=rng.choice(TOWNS)
        )
        closing = rng.choice(THING_CLOSINGS if things else CLOSINGS)
        portrait.text = " ".join([opening, *body, closing])
        if low <= len(portrait.text.split()) <= high:
            return portrait
