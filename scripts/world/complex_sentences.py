"""Sentences with two clauses, questions and requests, in English and German."""

from __future__ import annotations

import random

from .clauses import (
    NOWHERE,
    PRONOUNS,
    action,
    draw_time,
    intransitive,
    journey,
    name_phrase,
    person,
    place_for,
    quality,
    some,
    subject,
    thing,
)
from .german import BE, SEIN, Clause, Phrase, noun_phrase
from .lexicon import MEN, TOWNS, WOMEN
from .phrases import COLOUR_NAMES, DIRECTIONS, IMPERATIVES, NUMERALS, PLACES, WEATHER
from .sentences import Pair, sentence
from .vocabulary import NOUNS, OBJECT_KINDS, VERBS

OBJECT_KINDS_OF = {VERBS[name].de: kinds for name, kinds in OBJECT_KINDS.items()}


def subordinate(rng: random.Random) -> tuple[str, str]:
    """A clause for because, that, if: the English text and the German verb-last text."""
    roll = rng.random()
    if roll < 0.4:
        who, en, de = quality(rng)
        return f"{who.en} {BE[who.person]} {en}", f"{who.nom} {de} {SEIN[who.person]}"
    clause = rng.choice([action, action, journey, intransitive])(rng)
    return clause.english(), clause.subordinate()


def short_main(rng: random.Random) -> Clause:
    """A short main clause to which a subordinate clause can be added."""
    who = rng.choice(PRONOUNS) if rng.random() < 0.5 else rng.choice([name_phrase, person])(rng)
    roll = rng.random()
    if roll < 0.4:
        tense = rng.choice(["present", "will", "have to", "want to"])
        return Clause(who, VERBS["stay"], tense, place=rng.choice(PLACES))
    if roll < 0.7:
        verb = rng.choice(["laugh", "wait", "work", "sing", "sleep"])
        place = place_for(rng, verb) if rng.random() < 0.5 else NOWHERE
        return Clause(who, VERBS[verb], rng.choice(["continuous", "will", "can"]), place=place)
    tense = rng.choice(["continuous", "have to", "want to", "will"])
    return Clause(who, VERBS["go"], tense, place=rng.choice(DIRECTIONS))


def because(rng: random.Random) -> Pair:
    """I am staying at home because the dog is ill."""
    main = short_main(rng)
    word, wort = rng.choice([("because", "weil"), ("because", "weil"), ("although", "obwohl")])
    en, de = subordinate(rng)
    return sentence(f"{main.english()} {word} {en}", f"{main.german()}, {wort} {de}")


def that(rng: random.Random) -> Pair:
    """She says that the train is late."""
    main = Clause(subject(rng), VERBS[rng.choice(["think", "say", "hope"])])
    en, de = subordinate(rng)
    return sentence(f"{main.english()} that {en}", f"{main.german()}, dass {de}")


def condition(rng: random.Random) -> Pair:
    """If it rains, we stay at home."""
    main = short_main(rng)
    main.tense = "will" if main.tense == "continuous" else main.tense
    roll = rng.random()
    if roll < 0.4:
        en, de = rng.choice(WEATHER)[:2]
    else:
        who, en, de = quality(rng)
        en, de = f"{who.en} {BE[who.person]} {en}", f"{who.nom} {de} {SEIN[who.person]}"
    return sentence(f"if {en}, {main.english()}", f"wenn {de}, {main.german('first')}")


def relative(rng: random.Random) -> Pair:
    """The woman who is wearing the red hat comes from Millford."""
    noun = rng.choice([n for n in NOUNS["person"] if n.gender in "mf"])
    who = noun_phrase("the", some(rng, "person", 0.3), noun)
    clause = rng.choice([action, action, intransitive])(rng)
    if clause.tense not in ("present", "continuous", "past"):
        clause.tense = "past"
    own = "his" if noun.gender == "m" else "her"
    der = {"m": "der", "f": "die"}[noun.gender]
    clause.subject = Phrase("who", der, der, der, "3s", "definite", own=own)
    clause.time = NOWHERE
    if clause.direct and clause.direct.kind == "definite":
        clause.direct = thing(rng, OBJECT_KINDS_OF[clause.verb.de], clause.subject)
    town = rng.choice(TOWNS)
    return sentence(
        f"{who.en} {clause.english()} comes from {town}",
        f"{who.nom}, {clause.subordinate()}, kommt aus {town}",
    )


def question(rng: random.Random) -> Pair:
    """Are you travelling to Millford by train tomorrow?"""
    clause = rng.choice([action, journey, intransitive])(rng)
    if clause.subject.kind == "indefinite":
        clause.subject = PRONOUNS[1]
    en, de = clause.english_question(), clause.german("first")
    if rng.random() < 0.25:
        return sentence(f"why {en}", f"warum {de}", "?")
    return sentence(en, de, "?")


def asking_what(rng: random.Random) -> Pair:
    """What are you buying at the market today?"""
    verb = rng.choice(["buy", "eat", "drink", "read", "cook", "look for", "sell", "paint"])
    tense = rng.choice(["continuous", "past", "will", "want to"])
    who = subject(rng)
    clause = Clause(who, VERBS[verb], tense, time=draw_time(rng, tense, 0.5))
    clause.place = place_for(rng, verb)
    if rng.random() < 0.6:
        return sentence(f"what {clause.english_question()}", f"was {clause.german('first')}", "?")
    lost = noun_phrase("my", some(rng, "thing", 0.9), rng.choice(NOUNS["thing"]))
    return sentence(f"where is {lost.en}", f"wo ist {lost.nom}", "?")


def request(rng: random.Random) -> Pair:
    """Please open the small window."""
    en, de, kinds = rng.choice(IMPERATIVES)
    what = thing(rng, kinds.split(","), PRONOUNS[0])
    if rng.random() < 0.5:
        name = rng.choice(WOMEN + MEN)
        en, de = f"{name}, please {en}", f"{name}, bitte {de}"
    else:
        en, de = f"please {en}", f"bitte {de}"
    return sentence(en.format(what.en), de.format(what.acc))


def shopping(rng: random.Random) -> Pair:
    """Is there this coat also in green? Thank you for the beautiful flowers."""
    roll = rng.random()
    what = thing(rng, ["clothes", "thing"])
    if roll < 0.4:
        en, de = rng.choice(COLOUR_NAMES)
        noun = noun_phrase("this", [], rng.choice(NOUNS["clothes"]))
        return sentence(f"do you have {noun.en} in {en}", f"hast du {noun.acc} in {de}", "?")
    if roll < 0.7:
        name = rng.choice(WOMEN + MEN)
        return sentence(f"thank you for {what.en}, {name}", f"danke für {what.acc}, {name}")
    food = rng.choice(NOUNS["food"])
    goods = noun_phrase("", some(rng, "food", 0.6), food, bool(food.en_plural))
    number, _, zahl = rng.choice(NUMERALS).partition("|")
    return sentence(
        f"I would like {number} kilos of {goods.en}, please",
        f"ich möchte bitte {zahl} Kilo {goods.acc}",
    )


def two_clauses(rng: random.Random) -> Pair:
    """The dog is sleeping and the child is playing in the garden."""
    first = Clause(person(rng, 0.1), VERBS[rng.choice(["sleep", "sing", "work", "wait", "dance"])])
    verb = rng.choice(["laugh", "study", "swim", "play"])
    second = Clause(name_phrase(rng), VERBS[verb], place=place_for(rng, verb))
    first.tense = second.tense = rng.choice(["continuous", "past", "can"])
    word, wort = rng.choice([("and", " und"), ("but", ", aber")])
    return sentence(
        f"{first.english()} {word} {second.english()}",
        f"{first.german()}{wort} {second.german()}",
    )
