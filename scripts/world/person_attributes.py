"""What can be said and asked about people."""

from __future__ import annotations

from .attribute import attribute
from .lexicon import (
    AGES,
    ANIMALS,
    COLOURS,
    DAYS,
    DRINKS,
    FOODS,
    HOBBIES,
    HUNDREDS,
    INSTRUMENTS,
    JOBS,
    MONTHS,
    NUMBERS,
    OBJECTS,
    PRICES,
    SMALL,
    SUBJECTS,
    TIMES,
    TOWNS,
    VEHICLES,
)

PERSON_ATTRIBUTES = [
    attribute(
        "town",
        TOWNS,
        """
        lives in {v}
        has a small house in {v}
        rents a flat in {v}
        """,
        "The home of {N} is in {v}.",
        """
        Where does {N} live?
        In which town does {N} live?
        Which town is the home of {N}?
        """,
        """
        Who lives in {v}?
        Whose home is in {v}?
        """,
    ),
    attribute(
        "birthplace",
        TOWNS,
        """
        grew up in {v}
        was born in {v}
        """,
        "In {v} people still remember little {N}.",
        """
        Where did {N} grow up?
        In which town was {N} as a child?
        """,
        "Who grew up in {v}?",
    ),
    attribute(
        "job",
        JOBS,
        """
        works as {av}
        is {av}
        earns money as {av}
        """,
        "The work of {N} is that of {av}.",
        """
        What is the job of {N}?
        What does {N} do for a living?
        What does {N} work as?
        """,
        """
        Who is the {v}?
        Who works as {av}?
        """,
    ),
    attribute(
        "pet",
        ANIMALS,
        """
        has {av} at home
        owns {av}
        takes care of {av}
        """,
        "The best friend of {N} is {av}.",
        """
        Which animal does {N} have?
        What pet does {N} own?
        """,
        """
        Who has {av}?
        Who owns the {v}?
        """,
    ),
    attribute(
        "bike",
        COLOURS,
        """
        rides {av} bike
        came on {av} bike
        """,
        "The {v} bike belongs to {N}.",
        """
        What colour is the bike of {N}?
        Which colour does the bike of {N} have?
        """,
        """
        Who rides the {v} bike?
        Whose bike is {v}?
        """,
    ),
    attribute(
        "coat",
        COLOURS,
        """
        wore {av} coat
        had {av} coat on
        """,
        "The {v} coat on the hook is that of {N}.",
        """
        What colour is the coat of {N}?
        Which coat did {N} wear?
        """,
        """
        Who wore the {v} coat?
        Whose coat is {v}?
        """,
    ),
    attribute(
        "arrival",
        DAYS,
        """
        arrived on {v}
        came on {v}
        """,
        "On {v} it was {N} who stood at the door.",
        """
        When did {N} arrive?
        On which day did {N} arrive?
        Which day did {N} come?
        """,
        """
        Who arrived on {v}?
        Who came on {v}?
        """,
    ),
    attribute(
        "hour",
        TIMES,
        """
        gets up at {v}
        starts the day at {v}
        """,
        "At {v} the clock of {N} rings.",
        """
        At what time does {N} get up?
        When does {N} start the day?
        """,
        "Who gets up at {v}?",
    ),
    attribute(
        "instrument",
        INSTRUMENTS,
        """
        plays the {v}
        practises the {v} every day
        """,
        "Nobody plays the {v} like {N}.",
        """
        Which instrument does {N} play?
        What does {N} play?
        """,
        "Who plays the {v}?",
    ),
    attribute(
        "age",
        AGES + NUMBERS,
        """
        is {v} years old
        turned {v} this year
        """,
        "The age of {N} is {v}.",
        """
        How old is {N}?
        What is the age of {N}?
        """,
        "Who is {v} years old?",
    ),
    attribute(
        "gift",
        OBJECTS,
        """
        brought {av}
        came with {av} under one arm
        """,
        "{N} carried in {av} for the hosts.",
        """
        What did {N} bring?
        Which thing did {N} bring?
        """,
        """
        Who brought the {v}?
        Who came with {av}?
        """,
    ),
    attribute(
        "price",
        PRICES,
        """
        paid {v} coins for the ticket
        spent {v} coins
        """,
        "The ticket of {N} cost {v} coins.",
        """
        How much did {N} pay?
        How many coins did {N} spend?
        """,
        "Who paid {v} coins?",
    ),
    attribute(
        "drink",
        DRINKS,
        """
        ordered {v}
        asked for a cup of {v}
        """,
        "The cup of {v} was for {N}.",
        """
        What did {N} drink?
        Which drink did {N} order?
        """,
        "Who ordered {v}?",
    ),
    attribute(
        "food",
        FOODS,
        """
        bought {v}
        went home with a bag of {v}
        """,
        "The bag of {v} belongs to {N}.",
        """
        What did {N} buy?
        Which food did {N} choose?
        """,
        "Who bought {v}?",
    ),
    attribute(
        "subject",
        SUBJECTS,
        """
        gives lessons in {v}
        knows everything about {v}
        """,
        "For {N} nothing is better than {v}.",
        """
        Which subject does {N} teach?
        What does {N} know everything about?
        """,
        "Who gives lessons in {v}?",
    ),
    attribute(
        "hobby",
        HOBBIES,
        """
        loves {v}
        spends the weekend with {v}
        """,
        "In the free hours {N} thinks only of {v}.",
        """
        What is the hobby of {N}?
        What does {N} like to do?
        """,
        "Who loves {v}?",
    ),
    attribute(
        "vehicle",
        VEHICLES,
        """
        travelled by {v}
        took the {v}
        """,
        "The {v} brought {N} here.",
        """
        How did {N} travel?
        What did {N} travel by?
        """,
        """
        Who came by {v}?
        Who took the {v}?
        """,
    ),
    attribute(
        "books",
        SMALL,
        """
        read {v} books
        finished {v} books
        """,
        "A pile of {v} books lay next to {N}.",
        "How many books did {N} read?",
        "Who read {v} books?",
    ),
    attribute(
        "birthday",
        MONTHS,
        """
        has a birthday in {v}
        was born in {v}
        """,
        "In {v} there is cake for {N}.",
        """
        In which month is the birthday of {N}?
        When is the birthday of {N}?
        """,
        "Who has a birthday in {v}?",
    ),
    attribute(
        "room",
        HUNDREDS,
        """
        sleeps in room {v}
        got the key to room {v}
        """,
        "Room {v} was given to {N}.",
        """
        In which room does {N} sleep?
        What is the room number of {N}?
        """,
        "Who sleeps in room {v}?",
    ),
]

# Two attributes with values of one kind in one portrait would make a question ambiguous.
CLASHES = [
    {"birthplace", "birthday"},
    {"hobby", "vehicle"},
    {"arrival", "bike"},
    {"arrival", "vehicle"},
    {"arrival", "gift"},
    {"price", "food"},
    {"bike", "vehicle"},
    {"birthday", "town"},
]
