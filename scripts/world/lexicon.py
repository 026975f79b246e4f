"""Closed word lists of the invented world, and the helpers that draw from them.

The lists are short on purpose: a tiny byte-level vocabulary then learns every word as one token.
All names and towns are invented.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def words(text: str) -> list[str]:
    """Split a block of words; an underscore stands for a space inside an entry."""
    return [word.replace("_", " ") for word in text.split()]


def lines(text: str) -> list[str]:
    """Split a block of text into its non-empty lines, without the indentation."""
    return [line.strip() for line in text.splitlines() if line.strip()]


WOMEN = words("""
    Mara Ilse Nora Tilda Greta Lena Edda Frida Hanna Ida Juna Karla Lotte Merle Nele Olga Paula
    Ronja Selma Thea Ulla Vera Wilma Yara Zora Alma Berta Clara Dora Elsa
""")
MEN = words("""
    Ivo Anton Bruno Carl Dirk Emil Falk Gustav Hugo Jonas Kurt Leo Matti Nils Oskar Peer Ralf
    Sven Till Udo Viktor Willem Yannik Arno Bodo Enno Finn Hauke Jasper Linus
""")
FAMILIES = words("""
    Linden Hartwell Ashdown Birkett Callow Dunmore Ellery Farrow Garland Hollis Ingram Jessop
    Kestrel Lorimer Marlow Norwood Oakes Penrose Quill Rowan Selwyn Thorne Underhill Vance
    Wexford Yardley Amsel Bachmann Dorn Ebert Fink Gruber Haller Imhof Jansen Keller Lorenz
    Moser Nolte Ostermann Pohl Rademann Sander Thoma Uhlig Voss Wendt Ziegler Brandt Corden
    Drexler Eberly Falkner Gosling Heston Ivers Kimber Ludlow Merton Pickering
""")
TOWNS = words("""
    Brackwater Millford Oakhaven Stonebury Greyport Fernhill Larkfield Westmere Harrowgate
    Silverdale Thornbridge Elmstead Redholm Ravenmoor Saltmarsh Whitbank Ambleton Coldbrook
    Dunwick Eastholm Foxley Goldbeck Hazelton Ironmouth Jarrowby Kingsmead Lowfield Mossbank
    Northwell Otterwick Pinecrest Quarrydale Rushford Sandholm Tidewell Upperton Valewood
    Windmoor Yarrow Ashmoor Birchwold Cresthaven Drumlow Everdale Frostwick Glenmoor Heathmoor
    Inverlake Kelford Lindow Marshend Netherby Ormsby Pebbleton Rosewick Seaholm Tarnside
    Underwood Willowby Bellhaven
""")

DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("""
    January February March April May June July August September October November December
""")
TIMES = words("six seven eight nine ten eleven noon one two three four five")
COLOURS = words("red blue green yellow white black grey brown orange purple pink golden")
SMALL = words("two three four five six seven eight nine ten eleven twelve")
ANIMALS = words("""
    cat dog goat parrot rabbit pony donkey turtle hamster goose sheep duck horse hen lamb frog
""")
INSTRUMENTS = words("""
    piano violin flute guitar trumpet drum cello harp clarinet organ accordion banjo
""")
JOBS = words("""
    baker teacher doctor painter farmer nurse driver cook gardener tailor carpenter writer
    plumber barber miller fisher singer potter clerk judge sailor dentist builder engineer
""")
OBJECTS = words("""
    lamp clock basket blanket mirror map kettle ladder umbrella candle bottle hammer suitcase
    cushion vase camera lantern rope bell chair
""")
FOODS = words("""
    bread cheese soup apples honey pears carrots cake butter eggs fish rice potatoes cherries
    nuts plums onions beans jam salad
""")
DRINKS = words("tea coffee milk juice water cocoa lemonade cider")
SUBJECTS = words("""
    history music maths geography biology art physics chemistry drawing French Latin sewing
""")
HOBBIES = words("""
    swimming chess running fishing dancing painting cycling reading hiking sailing knitting
    skating cooking climbing
""")
VEHICLES = words("train bus boat bike car taxi ferry tram")
AGES = [str(n) for n in range(10, 19)]
YEARS = [str(n) for n in range(3, 31)]
NUMBERS = [str(n) for n in range(13, 100)]
PRICES = [str(n) for n in range(3, 60)]
HUNDREDS = [str(n) for n in range(110, 1000, 10)]


@dataclass(frozen=True)
class Person:
    """A named person together with the pronouns that fit."""

    first: str
    last: str
    female: bool

    @property
    def full(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def he(self) -> str:
        return "she" if self.female else "he"

    @property
    def him(self) -> str:
        return "her" if self.female else "him"

    @property
    def his(self) -> str:
        return "her" if self.female else "his"


def draw_people(rng: random.Random, count: int) -> list[Person]:
    """Draw people whose first names and family names all differ."""
    firsts = rng.sample(WOMEN + MEN, count)
    lasts = rng.sample(FAMILIES, count)
    return [Person(f, last, f in WOMEN) for f, last in zip(firsts, lasts, strict=True)]


def person_slots(prefix: str, person: Person) -> dict[str, str]:
    """Template slots of a person: {p}, {p_first}, {p_last}, {p_he}, {p_He}, {p_him}, {p_his}..."""
    return {
        prefix: person.full,
        f"{prefix}_first": person.first,
        f"{prefix}_last": person.last,
        f"{prefix}_he": person.he,
        f"{prefix}_He": person.he.capitalize(),
        f"{prefix}_him": person.him,
        f"{prefix}_his": person.his,
        f"{prefix}_His": person.his.capitalize(),
    }


def article(noun: str) -> str:
    """Return "a" or "an" for an English word."""
    return "an" if noun[0].lower() in "aeiou" else "a"


def capital(text: str) -> str:
    """Make the first character a capital and leave the rest alone."""
    return text[:1].upper() + text[1:]


def pick_some(rng: random.Random, items: Sequence[T], low: int, high: int) -> list[T]:
    """Draw between low and high different items, as many as there are."""
    return rng.sample(list(items), min(len(items), rng.randrange(low, high + 1)))
