"""Small sums in stories, with the way to the answer: for reasoning step by step."""

from __future__ import annotations

import random
from typing import NamedTuple

from .lexicon import DAYS, TOWNS, Person, capital, draw_people, lines, words

THINGS = words("apples eggs candles pears ropes bells plums onions lamps maps")
LARGEST = 12  # no number of a sum is larger

STARTS = lines("""
    {x} from {town} has {a} {things}.
    On {day} {x} counts {a} {things}.
    There are {a} {things} in the basket of {x}.
    {x} buys {a} {things} in {town}.
""")
MORE = lines("""
    {y} gives {him} {b} more.
    {he} finds {b} more in the kitchen.
    {he} gets {b} more from {y}.
    On {day} {y} brings {b} more.
""")
FEWER = lines("""
    {he} gives {b} to {y}.
    {he} loses {b} on the way.
    {he} sells {b} at the market in {town}.
    {y} takes {b} of them home.
""")
TWICE = lines("""
    Then {he} gets as many again.
    {y} brings just as many.
""")
QUESTIONS = lines("""
    How many {things} does {x_first} have now?
    How many {things} are there in the end?
    How many {things} has {x_first} got now?
""")


class Sum(NamedTuple):
    """A story that asks for a number, and the worked answer, its last line `#### number`."""

    question: str
    answer: str


def draw_sum(rng: random.Random) -> Sum:
    """Draw a story of one to three steps."""
    x, y = draw_people(rng, 2)
    things, number = rng.choice(THINGS), rng.randrange(1, LARGEST + 1)
    told = [spoken(rng, rng.choice(STARTS), x, y, things, a=number)]
    worked = []
    for _ in range(rng.choice([1, 2, 2, 3])):
        line, result, work = draw_step(rng, number)
        told.append(spoken(rng, line, x, y, things, b=abs(result - number)))
        worked.append(work)
        number = result
    told.append(spoken(rng, rng.choice(QUESTIONS), x, y, things))
    return Sum(" ".join(told), "\n".join([*worked, f"#### {number}"]))


def draw_step(rng: random.Random, number: int) -> tuple[str, int, str]:
    """(what happens, the number afterwards, the sum)."""
    kinds = []
    if number < LARGEST:
        kinds.append("more")
    if number > 1:
        kinds.append("fewer")
    if 2 * number <= LARGEST:
        kinds.append("twice")
    kind = rng.choice(kinds)
    if kind == "more":
        by = rng.randrange(1, LARGEST - number + 1)
        return rng.choice(MORE), number + by, f"{number} + {by} = {number + by}"
    if kind == "fewer":
        by = rng.randrange(1, number)
        return rng.choice(FEWER), number - by, f"{number} - {by} = {number - by}"
    return rng.choice(TWICE), 2 * number, f"{number} + {number} = {2 * number}"


def spoken(rng: random.Random, line: str, x: Person, y: Person, things: str, **numbers: int) -> str:
    """The line with its people, things and numbers."""
    slots = {"x": x.full, "x_first": x.first, "y": y.first, "he": x.he, "him": x.him}
    slots |= {"town": rng.choice(TOWNS), "day": rng.choice(DAYS), "things": things}
    return capital(line.format(**slots, **numbers))
