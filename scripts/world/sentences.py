"""Sentence patterns: English sentences with their one German translation."""

from __future__ import annotations

import random
from typing import NamedTuple

from .clauses import (
    IT,
    NOWHERE,
    action,
    draw_time,
    intransitive,
    journey,
    quality,
    some,
    somebody,
    standing,
    subject,
    thing,
)
from .german import BE, SEIN, WAR, WAS, Clause, noun_phrase
from .lexicon import MEN, TOWNS, WOMEN, article, capital
from .phrases import AMOUNTS, HOURS, NUMERALS, PLACES, STANDING, TIME
from .vocabulary import FITTING_ADJECTIVES, JOB_WORDS, NOUNS, OBJECT_KINDS, VERBS


class Pair(NamedTuple):
    """An English sentence and its German translation."""

    en: str
    de: str


def sentence(en: str, de: str, mark: str = ".") -> Pair:
    """Make sentences of two texts: capital letter first, full stop or another mark last."""
    return Pair(capital(en) + mark, capital(de) + mark)


def finish(rng: random.Random, clause: Clause, front: float = 0.4) -> Pair:
    """Make a statement of a clause, sometimes with the time in front."""
    fronted = bool(clause.time[0]) and rng.random() < front
    return sentence(clause.english(fronted), clause.german(front_time=fronted))


def doing(rng: random.Random) -> Pair:
    """My sister is buying a red coat at the market."""
    return finish(rng, action(rng))


def being_somewhere(rng: random.Random) -> Pair:
    """The dog did not sleep in the kitchen yesterday."""
    return finish(rng, intransitive(rng))


def going(rng: random.Random) -> Pair:
    """On Monday we are travelling to Millford by train."""
    return finish(rng, journey(rng), 0.5)


def giving(rng: random.Random) -> Pair:
    """The teacher gives the child a book."""
    who = subject(rng)
    tense = rng.choice(["present", "continuous", "past", "will", "want to"])
    verb = VERBS[rng.choice(["give", "show", "send"])]
    clause = Clause(who, verb, tense, time=draw_time(rng, tense, 0.35))
    clause.direct = thing(rng, ["thing", "text", "clothes"], who)
    clause.indirect = somebody(rng, who)
    return finish(rng, clause)


def helping(rng: random.Random) -> Pair:
    """We are helping the old man in the garden."""
    who = subject(rng)
    tense = rng.choice(["present", "continuous", "past", "will", "have to", "can", "should"])
    verb = rng.choice(["help", "help", "thank"])
    clause = Clause(who, VERBS[verb], tense, time=draw_time(rng, tense, 0.5))
    clause.indirect = somebody(rng, who)
    if verb == "help" and rng.random() < 0.6:
        clause.place = rng.choice(PLACES)
    return finish(rng, clause)


def daily(rng: random.Random) -> Pair:
    """My brother gets up at six every morning; the ferry departs at nine tomorrow."""
    verb = rng.choice(["get up", "arrive", "depart", "come back"])
    tense = rng.choice(["present", "past", "will"])
    who = subject(rng)
    if verb == "depart":
        noun = rng.choice(NOUNS["line"])
        who = noun_phrase(rng.choice(["the", "our", "this"]), some(rng, "line", 0.3), noun)
    clause = Clause(who, VERBS[verb], tense, time=draw_time(rng, tense, 0.6))
    clause.manner = rng.choice(HOURS)
    if verb == "arrive":
        town = rng.choice(TOWNS)
        clause.place, clause.manner = (f"in {town}", f"in {town}"), NOWHERE
    return finish(rng, clause)


def liking(rng: random.Random) -> Pair:
    """My mother likes to drink hot tea."""
    name = rng.choice(["eat", "drink", "read", "cook", "wear", "buy", "collect", "paint"])
    kind = rng.choice(OBJECT_KINDS[name])
    noun = rng.choice(NOUNS[kind])
    goal = noun_phrase("", some(rng, kind), noun, bool(noun.en_plural))
    return finish(rng, Clause(subject(rng), VERBS[name], direct=goal, gladly=True))


def copula(rng: random.Random) -> Pair:
    """The red coat is not expensive."""
    who, en, de = quality(rng)
    past = rng.random() < 0.35
    be, sein = (WAS, WAR) if past else (BE, SEIN)
    if rng.random() < 0.25:
        early, frueh = ("yesterday", "gestern") if past else ("today", "heute")
        return sentence(
            f"{early} {who.en} {be[who.person]} {en}", f"{frueh} {sein[who.person]} {who.nom} {de}"
        )
    return sentence(f"{who.en} {be[who.person]} {en}", f"{who.nom} {sein[who.person]} {de}")


def comparison(rng: random.Random) -> Pair:
    """The red suitcase is heavier than my old bag."""
    kind = rng.choice(["thing", "clothes", "pet", "building", "vehicle", "room", "family"])
    fitting = FITTING_ADJECTIVES[kind]
    adjective = rng.choice([a for a in fitting if a.more_en])
    others = [a for a in fitting if not a.more_en]
    own = ["my", "your", "his", "her", "our"]
    dets = own if kind in ("family", "room") else ["the", "this", "my"]
    used = [rng.choice(others)] if others and rng.random() < 0.4 else []
    first, second = rng.sample(NOUNS[kind], 2)
    left = noun_phrase(rng.choice(dets), used, first)
    right = noun_phrase(rng.choice(dets), [], second)
    return sentence(
        f"{left.en} is {adjective.more_en} than {right.en}",
        f"{left.nom} ist {adjective.more_de} als {right.nom}",
    )


def lying(rng: random.Random) -> Pair:
    """Two black cats are lying under the old table."""
    kind, verb = rng.choice(["thing", "text", "clothes"]), "lie"
    if rng.random() < 0.5:
        kind, verb = "pet", rng.choice(["lie", "sit", "sleep", "wait"])
    noun = rng.choice(NOUNS[kind])
    plural = rng.random() < 0.4
    det = "" if plural else rng.choice(["the", "a", "my", "your"])
    number = rng.choice(NUMERALS) if plural else ""
    who = noun_phrase(det, some(rng, kind, 0.6), noun, plural, number)
    return finish(rng, Clause(who, VERBS[verb], "continuous", place=standing(rng)))


def caption(rng: random.Random) -> Pair:
    """A small dog in front of a red house."""
    kind = rng.choice(["pet", "animal", "person", "vehicle"])
    who = noun_phrase("a", some(rng, kind, 0.9), rng.choice(NOUNS[kind]))
    en, de = rng.choice(STANDING[1:4])
    big = [n for n in NOUNS["furniture"] if n.en in ("house", "tree", "bench")]
    other = rng.choice(NOUNS["building"] + big)
    where = noun_phrase(rng.choice(["a", "the"]), some(rng, other.kind, 0.7), other)
    return sentence(f"{who.en} {en} {where.en}", f"{who.nom} {de} {where.dat}")


def price(rng: random.Random) -> Pair:
    """The blue coat costs twenty euros."""
    kind = rng.choice(["clothes", "thing", "vehicle", "instrument"])
    det = rng.choice(["the", "the", "this"])
    what = noun_phrase(det, some(rng, kind, 0.8), rng.choice(NOUNS[kind]))
    en, de = rng.choice(AMOUNTS)
    roll = rng.random()
    if roll < 0.35:
        return sentence(f"how much does {what.en} cost", f"wie viel kostet {what.nom}", "?")
    if roll < 0.5:
        town = rng.choice(TOWNS)
        return sentence(
            f"a ticket to {town} costs {en} euros", f"eine Fahrkarte nach {town} kostet {de} Euro"
        )
    return sentence(f"{what.en} costs {en} euros", f"{what.nom} kostet {de} Euro")


def weather(rng: random.Random) -> Pair:
    """It will rain in Millford tomorrow."""
    town = rng.choice(TOWNS)
    tense = rng.choice(["past", "will", "continuous"])
    verb = VERBS[rng.choice(["rain", "snow"])]
    if rng.random() < 0.5:
        time = rng.choice(TIME["future" if tense == "will" else tense])
        return finish(rng, Clause(IT, verb, tense, time=time, place=(f"in {town}", f"in {town}")))
    word, wort = rng.choice(
        [("cold", "kalt"), ("warm", "warm"), ("hot", "heiß"), ("dark", "dunkel")]
    )
    degree, grad = rng.choice([("very", "sehr"), ("too", "zu"), ("not", "nicht")])
    if rng.random() < 0.5:
        return sentence(
            f"today it is {degree} {word} in {town}", f"heute ist es in {town} {grad} {wort}"
        )
    return sentence(
        f"yesterday it was {degree} {word} in {town}", f"gestern war es in {town} {grad} {wort}"
    )


def introduction(rng: random.Random) -> Pair:
    """Mara is a teacher and lives in Brackwater."""
    name, town = rng.choice(WOMEN + MEN), rng.choice(TOWNS)
    job, male, female = rng.choice(JOB_WORDS)
    beruf = female if name in WOMEN else male
    roll = rng.random()
    if roll < 0.4:
        return sentence(
            f"{name} is {article(job)} {job} and lives in {town}",
            f"{name} ist {beruf} und wohnt in {town}",
        )
    if roll < 0.7:
        return sentence(
            f"my name is {name} and I come from {town}", f"ich heiße {name} und komme aus {town}"
        )
    return sentence(
        f"{name} comes from {town} and works as {article(job)} {job}",
        f"{name} kommt aus {town} und arbeitet als {beruf}",
    )


def existence(rng: random.Random) -> Pair:
    """There are two old churches in Millford."""
    noun = rng.choice(NOUNS["building"])
    number = rng.choice(NUMERALS[:4]) if rng.random() < 0.5 else ""
    det = "" if number else rng.choice(["a", "a", "no"])
    what = noun_phrase(det, some(rng, "building", 0.8), noun, bool(number), number)
    be = "are" if number else "is"
    town = rng.choice(TOWNS)
    if det == "no":
        bare = what.en.split(maxsplit=1)[1]
        return sentence(f"there is no {bare} in {town}", f"in {town} gibt es {what.acc}")
    return sentence(f"there {be} {what.en} in {town}", f"in {town} gibt es {what.acc}")
