"""News genres about storms, crashes and other surprises: plain data for the engine in news.py."""

from __future__ import annotations

from .genre import Genre
from .lexicon import lines

STORM = Genre(
    name="storm",
    extra={
        "storm": ["storm|strong winds", "hailstorm|hail", "thunderstorm|lightning"],
        "damage": [
            "trees lay across the rails|stopped the trains",
            "water stood in the cellars|flooded cellars",
            "the roof of the school was gone|took the school roof",
            "the ferry could not leave the harbour|held back the ferry",
            "all the lamps went out|cut off the power",
        ],
    },
    summary="{storm_s!c} {damage_s} in {town} on {day} and left {n} people hurt.",
    openers=lines("""
        In the morning the sky was blue, and people sat outside.
        "It came like a wall," said {x}, who was fishing with two friends.
        The birds were the first to fall silent.
        Old people say that the last time was in {month}, many years ago.
        Nobody believed the man on the radio.
    """),
    facts=[
        lines("""
            Then a {storm} came up from the west.
            A {storm} moved in from the sea within minutes.
            What followed was a {storm} as nobody had seen it before.
            The dark clouds brought a {storm}.
        """),
        lines("""
            When it was over, {damage}.
            A little later {damage}.
            It took less than an hour, and then {damage}.
            Soon {damage}, and the phones did not stop ringing.
        """),
        lines("""
            The doctors had to look after {n} people.
            {n} people were brought to the hospital.
            There were bandages for {n} people, but nobody is in danger.
            {n} people needed a doctor.
        """),
        lines("""
            Most of it hit {town}.
            The worst reports came from {town}.
            {town} was right in the middle of it.
            No place had as much trouble as {town}.
        """),
        lines("""
            By the evening of that {day} the worst was over.
            {day} will not be forgotten soon.
            All of this happened on {day} after lunch.
            It was {day}, and most people were on their way home.
        """),
    ],
    fillers=lines("""
        In {town3} there was only a little rain.
        {x} lost a hat and found it in {town3}.
        {big} calls came in before {time}.
        Firefighters from {town3} came to help.
        More rain is expected on {day2}.
        {x} saved a {animal} from the river.
    """),
)


CRASH = Genre(
    name="crash",
    extra={
        "vehicle": ["lorry", "bus", "van", "tractor", "taxi", "cart"],
        "target": [
            "garden wall",
            "shop window",
            "bus stop",
            "farm gate",
            "street lamp",
            "wooden fence",
        ],
        "cause": [
            "the brakes did not work|bad brakes",
            "there was ice on the road|ice",
            "a deer jumped out of the wood|a deer",
            "the sun was very low|the sun",
            "a tyre was flat|a flat tyre",
        ],
    },
    summary="On {day} in {town}, {p} drove a {vehicle} into a {target} because of {cause_s}.",
    openers=lines("""
        The street is quiet on most days, and cats sleep in the sun.
        "I thought it was thunder," said {x}, who was still in bed.
        Pieces of wood and stone lay everywhere.
        For {n2} hours nobody could pass.
        Sometimes a second is enough.
    """),
    facts=[
        lines("""
            The {vehicle} was on its way to {town2} with a load of {food}.
            A {vehicle} full of {food} had just left the market.
            Nobody knows why the {vehicle} was going so fast.
            It was an old {colour} {vehicle} with one broken lamp.
        """),
        lines("""
            It left the road and came to a stop in a {target}.
            A {target} was in the way and is now in pieces.
            Of the {target} not much is left.
            In the end only a {target} could stop it.
        """),
        lines("""
            At the wheel sat {p}, who has driven for {years} years.
            Police asked {p}, who had been at the wheel, many things.
            {p}, who sat at the wheel, called for help.
            {p} had been at the wheel since {time}.
        """),
        lines("""
            A look at the {vehicle} showed that {cause}.
            It seems that {cause}.
            According to the police, {cause}.
            The report says that {cause}.
        """),
        lines("""
            It was in {town}, near the station, on {day}.
            Neighbours in {town} will talk about this {day} for a long time.
            On {day} half of {town} came to look.
            The peace of {town} ended on {day} at {time2}.
        """),
    ],
    fillers=lines("""
        {x} picked up {big} {food} from the ground.
        The damage is about {big2} coins.
        A {animal} ran away and has not been found.
        {x} from {town3} helped with a rope.
        A new one will be built before {month}.
        There was a similar case in {town3} on {day2}.
    """),
)


LOST = Genre(
    name="lost",
    extra={
        "mark": [
            "one white paw",
            "a short tail",
            "a bent ear",
            "a red collar",
            "a small bell",
            "a dark spot",
        ],
        "fur": ["black", "white", "grey", "brown", "golden"],
        "spot": ["bus station", "old mill", "fish market", "town park", "harbour", "post office"],
    },
    summary="{p} misses a {fur} {animal} with {mark}, lost near the {town} {spot} on {day}.",
    openers=lines("""
        The bowl in the kitchen has been full for days.
        "I hear it in my dreams," says a tired voice on the phone.
        Small notes hang on every tree between here and {town3}.
        Who has seen something?
        Not every friend has two legs.
    """),
    facts=[
        lines("""
            {p} can hardly sleep and asks for help.
            The owner is {p}, who lives alone.
            {p} has been looking everywhere.
            All calls go to {p}, day and night.
        """),
        lines("""
            What is gone is a {animal}, {age} months old and very shy.
            It is about a {animal} that likes {food}.
            The {animal} is small and does not bite.
            A {animal} cannot be far away, people say.
        """),
        lines("""
            One should look for {mark}, and the colour is {fur}.
            Its colour is {fur}, and everybody notices {mark}.
            {fur!c} from head to foot, it has {mark}.
            The colour {fur} and {mark} make it easy to know.
        """),
        lines("""
            It was seen for the last time at the {spot} of {town}.
            The {spot} of {town} was the last place where it was seen.
            A child saw it at the {spot} of {town} before it ran off.
            Then a loud noise came from the {spot} of {town}, and it was gone.
        """),
        lines("""
            That was on {day} at {time}.
            Since {day} there has been no sign.
            The search began on {day}.
            {day} was a sad day.
        """),
    ],
    fillers=lines("""
        {x} found a {animal2} instead.
        {price} coins are promised to the finder.
        A {animal2} from {town3} came home after {num2} days.
        {x} printed {big} notes.
        The office is closed on {day2}.
        The neighbours help with lamps and dogs.
    """),
)


RESCUE = Genre(
    name="rescue",
    extra={
        "place": [
            "a frozen lake|an icy lake",
            "a deep well|a well",
            "a burning barn|a fire",
            "a dark cave|a cave",
            "a tall tree|a tree",
            "a muddy ditch|a ditch",
        ],
        "tool": ["ladder", "rope", "blanket", "boat", "net", "wooden board"],
    },
    summary="With a {tool}, {p} saved a {animal} from {place_s} in {town} on {day}.",
    openers=lines("""
        Most people walked past and heard nothing.
        "Anybody would have done the same," is all one hears.
        Heroes do not always wear a uniform.
        The story has a happy end, but it could have been different.
        A cold wind blew, and it was already getting dark.
    """),
    facts=[
        lines("""
            A {animal} was stuck in {place} and cried.
            The cries of a {animal} came out of {place}.
            In {place} sat a {animal} that could not move.
            Somebody saw that a {animal} had got into {place}.
        """),
        lines("""
            {p} did not wait for the police and ran home for a {tool}.
            A {tool} lay in the car of {p}, and that was lucky.
            Without thinking, {p} took a {tool}.
            {p} shouted for a {tool} and went in.
        """),
        lines("""
            After {num} minutes both were safe.
            It took {num} minutes, and everybody held their breath.
            {num} minutes later there was a big cheer.
            Nobody was hurt, only wet and tired.
        """),
        lines("""
            It was {day}, and {town} was on its way to bed.
            {town} has had no other subject since {day}.
            The mayor of {town} sent flowers on the same {day}.
            Such things do not happen in {town} every {day}.
        """),
    ],
    fillers=lines("""
        {x} took a photo of it.
        The {animal2} of {x} watched from a window.
        Last year a man from {town3} was not so lucky.
        There will be a small party on {day2}.
        A vet from {town3} came at {time}.
        The paper paid {price} coins for the picture.
    """),
)


THEFT = Genre(
    name="theft",
    extra={
        "loot": [
            "golden clock",
            "silver cup",
            "old violin",
            "ring box",
            "small statue",
            "rare stamp",
        ],
        "house": ["museum", "library", "town hall", "hotel", "school", "theatre"],
        "clue": ["a shoe print", "a torn glove", "a blue button", "a train ticket", "a hair"],
    },
    summary="{clue!c} led {p} to the {loot} stolen from the {town} {house} on {day}.",
    openers=lines("""
        The window was open, and the curtain moved in the wind.
        "The dog did not even bark," said {x}, who lives across the road.
        At first everything looked as always.
        Locks and keys were of no use this time.
        The guard had only left for a cup of {drink}.
    """),
    facts=[
        lines("""
            A {loot} was no longer in its place.
            Somebody had taken a {loot} during the night.
            Where the {loot} had stood, there was only dust.
            The thief wanted the {loot} and nothing else.
        """),
        lines("""
            The {house} of {town} had never had such a guest.
            It happened at the {house} in {town}.
            The workers of the {house} in {town} were shocked.
            In {town} people used to leave the {house} open.
        """),
        lines("""
            Police officer {p} looked at everything for {n} hours.
            The case was given to {p} of the police.
            {p} of the police is known for patience.
            Luckily {p} of the police was on duty.
        """),
        lines("""
            There was {clue} on the floor, and that was enough.
            Under a chair lay {clue}.
            The only trace was {clue}.
            The thief had left {clue} behind.
        """),
        lines("""
            It is back now, but {day} was a bad day for the guard.
            The night to {day} was dark and rainy.
            On {day} somebody noticed the empty shelf, and now all is well again.
            What was missed on {day} is now back behind glass.
        """),
    ],
    fillers=lines("""
        A man from {town3} is being asked questions.
        {x} had seen a {colour} car at {time}.
        It is worth about {big} coins.
        A new lock costs {price} coins.
        {x} gave the wrong name at first.
        The same thing had been tried in {town3} in {month}.
    """),
)

INCIDENTS = [STORM, CRASH, LOST, RESCUE, THEFT]
