"""Short stories, letters, recipes, lists and timetables from sentence templates."""

from __future__ import annotations

import random

from .lexicon import (
    ANIMALS,
    COLOURS,
    DAYS,
    DRINKS,
    FOODS,
    HOBBIES,
    INSTRUMENTS,
    JOBS,
    MONTHS,
    NUMBERS,
    OBJECTS,
    PRICES,
    SMALL,
    TIMES,
    TOWNS,
    VEHICLES,
    article,
    capital,
    draw_people,
    lines,
    person_slots,
    pick_some,
)

SERIES: dict[str, list[str]] = {
    "town": TOWNS,
    "day": DAYS,
    "time": TIMES,
    "n": SMALL,
    "num": NUMBERS,
    "price": PRICES,
    "animal": ANIMALS,
    "object": OBJECTS,
    "colour": COLOURS,
    "food": FOODS,
    "drink": DRINKS,
    "job": JOBS,
    "hobby": HOBBIES,
    "instrument": INSTRUMENTS,
    "vehicle": VEHICLES,
    "month": MONTHS,
}

# Each block is one step of the story; a story uses one line of every block.
LOST_AND_FOUND = [
    lines("""
        {p} was {a_job} and lived alone in a small house in {town}.
        In {town} there lived {a_job} called {p}.
        Everybody in {town} knew {p}, who was {a_job}.
    """),
    lines("""
        One {day} in {month} {p_he} could not find {p_his} {colour} {object}.
        On a cold {day} {p_his} {colour} {object} was gone.
        When {p_he} came home on {day}, the {colour} {object} was no longer there.
    """),
    lines("""
        {p_first} looked under the bed, behind the door and in the garden.
        First {p_first} looked in every room, and then {p_he} looked in the street.
        "Where can it be?" asked {p_first} and opened every box.
    """),
    lines("""
        A neighbour, {q}, had seen {a_animal} with something in its mouth.
        Then {q} came by and said that {a_animal} had run to the river.
        In the end {p_he} asked {q}, who only laughed and pointed at {a_animal}.
    """),
    lines("""
        They followed the {animal} for {n} hours until they reached {town2}.
        So {p_first} and {q_first} took the {vehicle} to {town2} and waited.
        For {n} days {p_first} and {q_first} looked for the {animal}.
    """),
    lines("""
        There it was, under an old tree: the {object}, a little wet but still {colour}.
        Behind the mill of {town2} they found the {colour} {object} at last.
        The {animal} slept next to the {object} and did not wake up.
    """),
    lines("""
        {p_first} gave {q_first} {price} coins and a cup of {drink}.
        That evening {p_first} cooked {food} for {q_first}.
        Since that day {p_first} and {q_first} have been friends.
    """),
]
JOURNEY = [
    lines("""
        {p} had never been to {town}.
        For years {p} had dreamed of {town}.
        A letter from {town} changed the life of {p}.
    """),
    lines("""
        On {day} at {time} {p_he} took the {vehicle} and left.
        {p_He} packed {a_object} and some {food} and left on {day}.
        The {vehicle} left at {time}, and {p_first} was the only guest.
    """),
    lines("""
        Next to {p_him} sat {q}, {a_job} from {town2}.
        On the way {p_he} met {q}, who came from {town2}.
        The seat by the window was taken by {q} from {town2}.
    """),
    lines("""
        They talked about {hobby} and shared a cup of {drink}.
        {q_first} showed {p_him} a picture of {a_animal}.
        {q_first} played the {instrument}, and {p_first} sang.
    """),
    lines("""
        After {n} hours the sea came into view.
        It was already dark when they arrived.
        Outside there were only fields, cows and small red houses.
    """),
    lines("""
        {p_first} found a room for {price} coins and slept until noon.
        The hotel had {num} rooms, and all of them were full.
        The streets of {town} were quiet, and the air smelled of {food}.
    """),
    lines("""
        "I will come back in {month}," {p_first} said to {q_first}.
        {p_first} stayed for {n} weeks and bought {a_colour} {object}.
        In {month} {q_first} sent {p_him} a card with {a_animal} on it.
    """),
]
ANIMAL_TALE = [
    lines("""
        On a farm near {town} there lived {a_animal} that was afraid of the rain.
        Once there was {a_animal} that wanted to see {town}.
        The oldest animal on the farm of {p} was {a_animal}.
    """),
    lines("""
        Every morning at {time} it went to the gate and waited.
        It slept in {a_colour} box and ate only {food}.
        It was small, but it was not stupid.
    """),
    lines("""
        One {day} {p_first} forgot to close the gate.
        On {day} a storm broke the fence.
        Then, one {day}, {q} came to buy it for {price} coins.
    """),
    lines("""
        The {animal} ran along the road and did not look back.
        The {animal} jumped on the {vehicle} of {q_first} and hid.
        Nobody saw how the {animal} left the yard.
    """),
    lines("""
        In {town2} it met {n} hens, who laughed at it.
        It walked through {town2} and looked into every window.
        The children of {town2} gave it {food} and water.
    """),
    lines("""
        But in the evening it was cold and the {animal} was sad.
        Soon it was tired and missed its warm bed.
        When the lamps went on, it wanted to go home.
    """),
    lines("""
        {p_first} found it at the bus stop and carried it home.
        The next morning it stood at the gate again, as if nothing had happened.
        {q_first} brought it back and asked for nothing but a cup of {drink}.
    """),
]
LETTER = [
    lines("""
        Dear {q_first},
        Hello {q_first},
        My dear {q_first},
    """),
    lines("""
        thank you for your letter from {town}.
        I am writing to you from {town}, where it has been raining for {n} days.
        it is already {month}, and I have not heard from you.
    """),
    lines("""
        On {day} I bought {a_colour} {object} for {price} coins.
        My new neighbour is {a_job} and plays the {instrument} every night.
        We have {a_animal} now, and it eats nothing but {food}.
    """),
    lines("""
        Do you still like {hobby}?
        How is your mother in {town2}?
        Have you found your {object}?
    """),
    lines("""
        I will come to {town2} by {vehicle} on {day2}.
        Please meet me at the station of {town2} on {day2} at {time}.
        Could you send me the {object2} before {day2}?
    """),
    lines("""
        I will bring {food} and a bottle of {drink}.
        There is so much to tell you.
        Please do not forget to water the flowers.
    """),
    lines("""
        Yours, {p_first}
        With love, {p}
        Best wishes from {p}
    """),
]
RECIPE = [
    lines("""
        This recipe for {food} with {food2} comes from {p} in {town}.
        {p} from {town} cooks {food} with {food2} like this.
        How to make {food} with {food2} for {n} guests:
    """),
    lines("""
        Take {n} cups of {drink} and put them into a pot.
        You need {num} grams of butter and {n2} eggs.
        Wash {num} grams of {food2} and cut them into small pieces.
    """),
    lines("""
        Add the {food} and a little salt.
        Then put in the {food} and wait for {n} minutes.
        Mix everything with the {food} in a big bowl.
    """),
    lines("""
        Cook it for {num2} minutes and do not open the door.
        It has to stay in the oven for {num2} minutes.
        After {num2} minutes it should be brown.
    """),
    lines("""
        {q} adds a spoon of honey, but that is not needed.
        {q} says that it is even better with {drink2}.
        If you have no {food2}, take nuts, says {q}.
    """),
    lines("""
        Serve it warm with a cup of {drink2}.
        It is best on the next day.
        Eat it with friends and good bread.
    """),
]
DESCRIPTION = [
    lines("""
        {town} is a small town between the hills and the sea.
        Those who come to {town} by {vehicle} first see the old tower.
        Few people know {town}, and that is a pity.
    """),
    lines("""
        It has {num} streets and {n} churches.
        In the middle there is a square with {a_colour} clock.
        About {num} families live there.
    """),
    lines("""
        On {day} there is a market where one can buy {food} and {food2}.
        The market on {day} smells of {food} and fresh bread.
        Every {day} the farmers bring {food} to the market.
    """),
    lines("""
        The mayor, {p}, used to be {a_job}.
        The best known person is {p}, {a_job} with {a_colour} hat.
        {p}, {a_job}, has written a book about the place.
    """),
    lines("""
        At {time} the bells ring, and {a_animal} walks across the bridge.
        In the park sits {q} and plays the {instrument}.
        In the evening {q} tells stories in the inn for {price} coins.
    """),
    lines("""
        In winter there is snow until {month}, and nobody needs a car.
        In {month} the river is so high that one needs a boat.
        The best month for a visit is {month}.
    """),
    lines("""
        The road to {town2} is long, but the view is worth it.
        From the hill one can see as far as {town2}.
        Only the people of {town2} say that their town is nicer.
    """),
]
STORIES = [LOST_AND_FOUND, JOURNEY, ANIMAL_TALE, LETTER, RECIPE, DESCRIPTION]


def draw_slots(rng: random.Random) -> dict[str, str]:
    """Draw the words of a story; {a_job} is the word with its article, {job2} another one."""
    slots: dict[str, str] = {}
    for prefix, person in zip("pq", draw_people(rng, 2), strict=True):
        slots.update(person_slots(prefix, person))
    for name, values in SERIES.items():
        first, second = rng.sample(values, 2)
        slots[name], slots[f"{name}2"] = first, second
        slots[f"a_{name}"] = f"{article(first)} {first}"
    return slots


def draw_story(rng: random.Random) -> str:
    """Draw a story, letter, recipe or description."""
    steps = rng.choice(STORIES)
    slots = draw_slots(rng)
    sentences = [rng.choice(step).format_map(slots) for step in steps]
    if steps is LETTER:
        return "\n".join([sentences[0], " ".join(map(capital, sentences[1:-1])), sentences[-1]])
    return " ".join(map(capital, sentences))


def timetable(rng: random.Random) -> str:
    """A timetable with a few sentences that read something off it."""
    towns, line = pick_some(rng, TOWNS, 5, 7), rng.choice(["train", "bus", "ferry", "tram"])
    times = rng.sample([f"{h}:{m}" for h in range(6, 22) for m in ("05", "15", "30", "50")], 7)
    rows = list(zip(towns, times, strict=False))
    table = "\n".join(f"{town} {time}" for town, time in rows)
    rng.shuffle(rows)
    read = [f"The {line} to {town} leaves at {time}." for town, time in rows[:3]]
    ask = [f"When does the {line} to {town} leave? At {time}." for town, time in rows[3:5]]
    return f"Timetable of the {line}s on {rng.choice(DAYS)}\n{table}\n{' '.join(read + ask)}"


def shopping_list(rng: random.Random) -> str:
    """A price list, and who bought what for how much."""
    goods = pick_some(rng, OBJECTS + FOODS, 5, 7)
    prices = rng.sample(PRICES, len(goods))
    rows = list(zip(goods, prices, strict=True))
    table = "\n".join(f"- {good}: {price} coins" for good, price in rows)
    rng.shuffle(rows)
    people = draw_people(rng, 4)
    told = [
        f"{who.full} took the {good} and paid {price} coins."
        for who, (good, price) in zip(people, rows, strict=False)
    ]
    return f"Prices at the market of {rng.choice(TOWNS)}\n{table}\n{' '.join(told)}"


def register(rng: random.Random) -> str:
    """A list of people with a value each, in words and again in another order."""
    people = draw_people(rng, rng.randrange(5, 8))
    label, values, ends = rng.choice(
        [
            ("town", TOWNS, "comes from {v}"),
            ("job", JOBS, "is the {v}"),
            ("day", TOWNS, "will travel to {v}"),
            ("colour", COLOURS, "has chosen {v}"),
            ("number", NUMBERS, "wears the number {v}"),
            ("instrument", INSTRUMENTS, "plays the {v}"),
        ]
    )
    rows = list(zip(people, rng.sample(values, len(people)), strict=True))
    table = "\n".join(f"{who.full} – {value}" for who, value in rows)
    rng.shuffle(rows)
    told = [f"{capital(who.first)} {ends.format(v=value)}." for who, value in rows]
    return f"List: name and {label}\n{table}\n{' '.join(told)}"


LISTS = [timetable, shopping_list, register, register]


def draw_tale(rng: random.Random) -> str:
    """Draw a story or, less often, a list."""
    return draw_story(rng) if rng.random() < 0.65 else rng.choice(LISTS)(rng)
