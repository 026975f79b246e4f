"""Random clauses: who does what, when and where, in English and German at once."""

from __future__ import annotations

import random

from .german import Clause, Noun, Phrase, noun_phrase
from .lexicon import COLOURS, MEN, TOWNS, WOMEN
from .phrases import (
    COSY,
    DIRECTIONS,
    MEADOWS,
    NUMERALS,
    PLACES,
    STANDING,
    TIME,
    TRANSPORT,
    VERB_PLACES,
    pairs,
)
from .vocabulary import ADJECTIVES, CONTINUOUS, FITTING_ADJECTIVES, NOUNS, OBJECT_KINDS, VERBS

NOWHERE = ("", "")


def pronoun(en: str, nom: str, acc: str, dat: str, person: str, obj: str, own: str) -> Phrase:
    """Build a personal pronoun."""
    return Phrase(en, nom, acc, dat, person, "pronoun", obj, own)


PRONOUNS = [
    pronoun("I", "ich", "mich", "mir", "1s", "me", "my"),
    pronoun("you", "du", "dich", "dir", "2s", "you", "your"),
    pronoun("he", "er", "ihn", "ihm", "3s", "him", "his"),
    pronoun("she", "sie", "sie", "ihr", "3s", "her", "her"),
    pronoun("we", "wir", "uns", "uns", "1p", "us", "our"),
    pronoun("they", "sie", "sie", "ihnen", "3p", "them", "their"),
]
IT = pronoun("it", "es", "es", "ihm", "3s", "it", "")
OTHERS = [p for p in PRONOUNS if p.en in ("he", "she", "they")]
PARENTS = ["mother", "father"]
# Kinds of things that people own; "their carrot" would sound odd.
OWNED = ["thing", "clothes", "text", "vehicle", "pet", "room", "instrument"]
PERSON_KINDS = ["person", "family"]
ANIMAL_VERBS = ["sleep", "lie", "sit", "stand", "wait", "play"]
HUMAN_VERBS = ["sleep", "sit", "play", "work", "wait", "swim", "dance", "sing", "laugh", "study"]
PLAYED = [
    Phrase(en, de, de, de, "3s", "indefinite")
    for en, de in pairs("""
        the piano|Klavier; the violin|Geige; the guitar|Gitarre; football|Fußball; chess|Schach
        cards|Karten; tennis|Tennis
    """)
]
# Verbs whose sentences may name a place.
PLACED = ["buy", "eat", "drink", "read", "find", "lose", "look for", "see", "sell"]
MODAL_TENSES = ["will", "can", "have to", "should", "want to"]
TENSES = ["present", "continuous", "past", "past", *MODAL_TENSES]
# Verbs of state, which sound odd with a modal verb.
STATES = ["have", "know", "need", "love", "lose", "see", "hear"]
QUALITY_KINDS = ["thing", "clothes", "person", "family", "pet", "animal", "building", "room"]
QUALITY_KINDS += ["text", "vehicle", "food"]
MOODS = [ADJECTIVES[en] for en in ("tired", "happy", "sad", "ill", "angry", "hungry")]


def some(rng: random.Random, kind: str, chance: float = 0.5) -> list:
    """No adjective or one that fits the kind of noun."""
    return [rng.choice(FITTING_ADJECTIVES[kind])] if rng.random() < chance else []


def name_phrase(rng: random.Random) -> Phrase:
    """A first name as a subject or object."""
    name = rng.choice(WOMEN + MEN)
    return Phrase(name, name, name, name, "3s", "name", own="her" if name in WOMEN else "his")


def person(rng: random.Random, plural: float = 0.2) -> Phrase:
    """Somebody described by a noun: "the old woman", "my sister", "two guests"."""
    if rng.random() < 0.45:
        det = rng.choice(["my", "my", "your", "his", "her", "our"])
        noun = rng.choice(NOUNS["family"])
        return noun_phrase(
            det, some(rng, "family", 0.1), noun, noun.en not in PARENTS and rng.random() < plural
        )
    noun = rng.choice(NOUNS["person"])
    if rng.random() < plural:
        return noun_phrase("", some(rng, "person"), noun, True, rng.choice(NUMERALS))
    return noun_phrase(rng.choice(["the", "the", "a", "this"]), some(rng, "person"), noun)


def subject(rng: random.Random) -> Phrase:
    """A human subject: pronoun, name or noun phrase."""
    roll = rng.random()
    if roll < 0.3:
        return rng.choice(PRONOUNS)
    return name_phrase(rng) if roll < 0.45 else person(rng)


def thing(rng: random.Random, kinds: list[str], owner: Phrase | None = None) -> Phrase:
    """An object of one of the kinds, perhaps owned by the subject."""
    noun = rng.choice(NOUNS[rng.choice(kinds)])
    adjectives = some(rng, noun.kind, 0.55)
    if not noun.en_plural:
        return noun_phrase(rng.choice(["the", "", ""]), adjectives, noun)
    roll = rng.random()
    if roll < 0.18:
        return noun_phrase("", adjectives, noun, True, rng.choice(NUMERALS))
    if roll < 0.4 and owner is not None and owner.own and noun.kind in OWNED:
        return noun_phrase(owner.own, adjectives, noun)
    return noun_phrase(rng.choice(["the", "the", "a", "a", "this"]), adjectives, noun)


def negated_thing(rng: random.Random, kinds: list[str]) -> Phrase:
    """An object with kein: "not ... a car", "not ... any bread"."""
    noun = rng.choice(NOUNS[rng.choice(kinds)])
    return noun_phrase("no", some(rng, noun.kind, 0.4), noun)


def draw_time(rng: random.Random, tense: str, chance: float) -> tuple[str, str]:
    """A time that goes with the tense, or nothing."""
    if rng.random() > chance:
        return NOWHERE
    return rng.choice(TIME["future" if tense in MODAL_TENSES else tense])


def choose_tense(rng: random.Random, verb: str) -> str:
    """A tense that the English verb can stand in."""
    while True:
        tense = rng.choice(TENSES)
        if tense == "continuous" and verb not in CONTINUOUS:
            continue
        if verb in STATES[:4] and tense != "present":
            continue
        if verb not in STATES or tense not in MODAL_TENSES:
            return tense


def action(rng: random.Random) -> Clause:
    """A clause with a direct object."""
    name = rng.choice(list(OBJECT_KINDS))
    tense = choose_tense(rng, name)
    kinds = OBJECT_KINDS[name]
    clause = Clause(subject(rng), VERBS[name], tense, time=draw_time(rng, tense, 0.5))
    if name in STATES[:4]:
        clause.time = NOWHERE
    clause.direct = object_for(rng, kinds, clause.subject)
    roll = rng.random()
    if roll < 0.12 and tense != "have to" and kinds[0] not in PERSON_KINDS:
        clause.negated = True
        clause.direct = negated_thing(rng, kinds)
    elif roll < 0.25 and tense in ("past", "continuous"):
        clause.negated = clause.direct.kind != "indefinite"
    elif name in PLACED and (not clause.time[0] or rng.random() < 0.25):
        clause.place = place_for(rng, name)
    return clause


def place_for(rng: random.Random, verb: str) -> tuple[str, str]:
    """A place that suits the verb."""
    return rng.choice(VERB_PLACES.get(verb, PLACES))


def object_for(rng: random.Random, kinds: list[str], who: Phrase) -> Phrase:
    """A person (also a pronoun or name) or a thing as the object."""
    kind = rng.choice(kinds)
    if kind not in PERSON_KINDS:
        return thing(rng, [kind], who)
    return somebody(rng, who)


def somebody(rng: random.Random, who: Phrase) -> Phrase:
    """A person as an object; pronouns only where they cannot mean the subject itself."""
    if rng.random() < 0.35 and who.person in ("1s", "2s", "1p"):
        return rng.choice(OTHERS)
    while True:
        other = name_phrase(rng) if rng.random() < 0.2 else person(rng, 0.1)
        if other.en.split()[-1] != who.en.split()[-1]:
            return other


def animal_clause(rng: random.Random) -> Clause:
    """What an animal does and where: pets indoors and outdoors, other animals outdoors."""
    kind = rng.choice(["pet", "animal"])
    det = rng.choice(["the", "a", "my", "your"] if kind == "pet" else ["the", "a", "this"])
    who = noun_phrase(det, some(rng, kind), rng.choice(NOUNS[kind]))
    tense = rng.choice(["present", "continuous", "continuous", "past", "past"])
    clause = Clause(who, VERBS[rng.choice(ANIMAL_VERBS)], tense, time=draw_time(rng, tense, 0.5))
    clause.place = rng.choice(MEADOWS if kind == "animal" else MEADOWS + COSY[:3])
    clause.negated = rng.random() < 0.15
    return clause


def intransitive(rng: random.Random) -> Clause:
    """A clause without an object (or with a game or an instrument), with a place."""
    if rng.random() < 0.3:
        return animal_clause(rng)
    verb = rng.choice(HUMAN_VERBS)
    tense = rng.choice(["present", "continuous", "past", "will", "can", "want to"])
    clause = Clause(subject(rng), VERBS[verb], tense, time=draw_time(rng, tense, 0.5))
    clause.place = place_for(rng, verb)
    if verb == "play" and rng.random() < 0.7:
        clause.direct = rng.choice(PLAYED)
    else:
        clause.negated = rng.random() < 0.15
    return clause


def journey(rng: random.Random) -> Clause:
    """Somebody goes or travels somewhere."""
    tense = rng.choice(["present", "continuous", "past", "will", "have to", "want to", "can"])
    clause = Clause(subject(rng), VERBS["travel"], tense, time=draw_time(rng, tense, 0.7))
    if rng.random() < 0.55:
        town = rng.choice(TOWNS)
        clause.place, clause.manner = (f"to {town}", f"nach {town}"), rng.choice(TRANSPORT)
    else:
        clause.verb, clause.place = VERBS["go"], rng.choice(DIRECTIONS)
        clause.manner = companion(rng, clause.subject) if rng.random() < 0.3 else NOWHERE
    clause.negated = tense != "have to" and rng.random() < 0.1
    return clause


def companion(rng: random.Random, who: Phrase) -> tuple[str, str]:
    """With somebody: "with my brother", "mit meinem Bruder"."""
    nouns = [n for n in NOUNS["family"] if not who.en.endswith((n.en, n.en_plural))]
    noun = rng.choice(nouns)
    plural = noun.en not in PARENTS and rng.random() < 0.3
    friend = noun_phrase(who.own or "the", [], noun, plural)
    return (f"with {friend.en}", f"mit {friend.dat}")


def quality(rng: random.Random) -> tuple[Phrase, str, str]:
    """Something and how it is: the subject and the adjective with its adverb, twice."""
    kind = rng.choice(QUALITY_KINDS)
    noun = rng.choice([n for n in NOUNS[kind] if n.en_plural])
    own = kind in ("family", "room")
    det = rng.choice(["my", "our", "your"] if own else ["the", "this"])
    fitting = MOODS if kind == "family" else FITTING_ADJECTIVES[kind]
    adjective = rng.choice([a for a in fitting if a.en not in COLOURS])
    colours = [a for a in FITTING_ADJECTIVES[kind] if a.en in COLOURS]
    used = [rng.choice(colours)] if colours and rng.random() < 0.3 else []
    who = noun_phrase(det, used, noun, det != "this" and rng.random() < 0.25)
    en, _, de = rng.choice(["|", "very |sehr ", "too |zu ", "not |nicht "]).partition("|")
    return who, en + adjective.en, de + adjective.de


def standing(rng: random.Random) -> tuple[str, str]:
    """A place described with a noun: "under the old table", "unter dem alten Tisch"."""
    en, de = rng.choice(STANDING)
    where = noun_phrase(
        rng.choice(["the", "a", "our", "this"]), some(rng, "furniture"), furniture(rng, en)
    )
    return (f"{en} {where.en}", f"{de} {where.dat}")


def furniture(rng: random.Random, preposition: str) -> Noun:
    """A noun on, under, behind or next to which something can be."""
    unfit = {"on": ["house", "wall", "tree"], "under": ["house", "wall", "cupboard"]}
    return rng.choice(
        [n for n in NOUNS["furniture"] if n.en not in unfit.get(preposition, ["wall"])]
    )
