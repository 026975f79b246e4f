"""What can be said and asked about places."""

from __future__ import annotations

from .attribute import attribute
from .lexicon import ANIMALS, COLOURS, DAYS, HUNDREDS, PRICES, TIMES, TOWNS

THING_ATTRIBUTES = [
    attribute(
        "owner",
        [],
        """
        belongs to {v}
        is run by {v}
        is owned by {v}
        """,
        "{v} takes good care of {n}.",
        """
        Who owns {n}?
        Who runs {n}?
        To whom does {n} belong?
        """,
        "What belongs to {v}?",
    ),
    attribute(
        "place",
        TOWNS,
        """
        is in {v}
        can be found in {v}
        """,
        "In {v} everybody knows {n}.",
        """
        Where is {n}?
        In which town is {n}?
        """,
        "What can be found in {v}?",
    ),
    attribute(
        "colour",
        COLOURS,
        """
        is painted {v}
        has {av} door
        """,
        "The {v} paint of {n} is new.",
        """
        What colour is {n}?
        Which colour does {n} have?
        """,
        "What is painted {v}?",
    ),
    attribute(
        "cost",
        PRICES,
        """
        costs {v} coins a day
        asks for {v} coins
        """,
        "One pays {v} coins at {n}.",
        """
        How much does {n} cost?
        How many coins does one pay at {n}?
        """,
        "What costs {v} coins?",
    ),
    attribute(
        "opens",
        TIMES,
        """
        opens at {v}
        is open from {v} on
        """,
        "At {v} the door of {n} opens.",
        """
        When does {n} open?
        At what time does {n} open?
        """,
        "What opens at {v}?",
    ),
    attribute(
        "closed",
        DAYS,
        """
        is closed on {v}
        takes a rest on {v}
        """,
        "On {v} nobody works at {n}.",
        """
        On which day is {n} closed?
        Which day is the day of rest for {n}?
        """,
        "What is closed on {v}?",
    ),
    attribute(
        "seats",
        HUNDREDS,
        """
        has room for {v} guests
        can take {v} people
        """,
        "There are {v} seats at {n}.",
        """
        How many people can {n} take?
        How many guests have room at {n}?
        """,
        "What has room for {v} people?",
    ),
    attribute(
        "animal",
        ANIMALS,
        """
        has {av} on its sign
        shows {av} on its flag
        """,
        "The picture of {av} hangs at {n}.",
        """
        Which animal is on the sign of {n}?
        What animal does {n} show?
        """,
        "What has {av} on its sign?",
    ),
]
THINGS = """
    the bakery, the museum, the hotel, the theatre, the library, the cinema, the tea room,
    the bookshop, the castle, the swimming pool, the night market, the boat house, the old mill,
    the toy shop, the dance school, the zoo, the camp site, the music hall
"""
THING_NAMES = [" ".join(name.split()) for name in THINGS.split(",")]
