"""News genres about shops, offices and traffic: plain data for the engine in news.py."""

from __future__ import annotations

from .genre import Genre
from .lexicon import lines

OPENING = Genre(
    name="opening",
    extra={
        "shop": [
            "bakery|place for fresh bread",
            "bookshop|place for books",
            "bicycle shop|place for bicycles",
            "flower shop|place for flowers",
            "toy shop|place for toys",
            "tea room|place for tea",
            "shoe shop|place for shoes",
            "fish shop|place for fish",
        ],
        "street": ["Mill Street", "Church Street", "Harbour Road", "Garden Lane", "Bridge Road"],
    },
    summary="Since {day} {p} has run a new {shop} with {n} workers on {street} in {town}.",
    openers=lines("""
        For years the old house with the green door stood empty.
        "I walk past here every morning and always wondered," said {x}, a neighbour.
        Fresh paint, clean windows and a wooden sign show that something has changed.
        Not every dream has to wait for ever.
        Children pressed their noses against the glass.
    """),
    facts=[
        lines("""
            The owner, {p}, cut a {colour} ribbon with big scissors.
            Behind the counter stands {p}, who saved money for a long time.
            The idea came from {p}, who learned the trade in {town3}.
            For {p} it is the end of a long wait.
        """),
        lines("""
            What people find behind the door is a {shop} with a warm light.
            A {shop} was exactly what this part of the town needed.
            The house has become a {shop}, with shelves up to the roof.
            Nobody had expected a {shop} here.
        """),
        lines("""
            The address, {street}, is easy to find.
            Buses stop nearby, because {street} is a busy place.
            Rents on {street} are low, and that helped.
            Guests should look for the last house on {street}.
        """),
        lines("""
            The doors opened for the first time on {day}, and {big} people came.
            {day} was the first day, and the till never stopped ringing.
            On {day} the first guests received a small present.
            It all began on {day} at {time}.
        """),
        lines("""
            {n} people from {town} have found a job there.
            The team counts {n} people, all of them from {town}.
            {town} is pleased, for {n} people were given work.
            Work for {n} people is good news for {town}.
        """),
    ],
    fillers=lines("""
        A similar house in {town3} closed last {month}.
        The shop next door belongs to {x}.
        On {day2} everything stays closed.
        {x} bought the first thing for {price} coins.
        The mayor sent a plant.
        Parking is free for {time2} minutes.
    """),
)


ELECTION = Genre(
    name="election",
    extra={
        "office": ["mayor", "school head", "harbour master"],
        "plan": [
            "more trees along the roads|plant trees",
            "a new roof for the school|repair the school",
            "cheaper bus tickets|make buses cheaper",
            "clean water in the river|clean the river",
            "more lamps in the streets|light the streets",
            "a hall for the young people|build a youth hall",
        ],
    },
    summary="{p} was elected {office} of {town} with {num} percent, promising to {plan_s}.",
    openers=lines("""
        The lights in the town hall stayed on until late at night.
        "I have never seen such a long line of people," said {x}, who counted the papers.
        For weeks there had been only one subject at the market.
        Coffee and cake were offered to everybody who came.
        In the end it went faster than many had feared.
    """),
    facts=[
        lines("""
            The race for the post of {office} was open until the last minute.
            Two people wanted to become {office}, and both worked hard.
            The old {office} had left the post in {month}.
            Every four years a new {office} has to be found.
        """),
        lines("""
            {num} out of a hundred papers carried the name of {p}.
            The name {p} stood on {num} of every hundred papers.
            For {p} there were {num} votes in every hundred.
            When the papers were counted, {num} in every hundred were for {p}.
        """),
        lines("""
            The winner had promised {plan}.
            People liked the promise of {plan} most of all.
            In all the speeches there was talk of {plan}.
            The winning side wants {plan} before the winter.
        """),
        lines("""
            The people of {town} went to the schools and halls on {day}.
            In {town} the doors were open all {day}.
            All over {town} people put on their good coats on {day}.
            {town} was quiet that {day}, and the weather was fine.
        """),
    ],
    fillers=lines("""
        The other side, led by {x}, went home early.
        {x} is not going to try again.
        In {town3} people vote in {month}.
        Only {big} people stayed at home.
        The first meeting is on {day2}.
        "We will work together," {x} said with a smile.
    """),
)


SALE = Genre(
    name="sale",
    extra={
        "goods": ["coats", "lamps", "chairs", "bicycles", "carpets", "clocks", "tents", "boots"],
        "reason": [
            "the cellar is full|a full cellar",
            "the house will be rebuilt|building work",
            "the owner wants to travel|a long journey",
            "winter is almost over|the end of winter",
            "too many were ordered|a wrong order",
        ],
    },
    summary="Because of {reason_s}, {p} in {town} sells {goods} for {price} coins until {day}.",
    openers=lines("""
        Early birds stood in front of the shop with empty bags.
        "I came for one and left with three," said {x}.
        The sign in the window is written in big {colour} letters.
        Shops do not often give presents, but this is close.
        Money is short in many homes this year.
    """),
    facts=[
        lines("""
            Everybody in {town} knows the shop of {p}.
            {p} has had a shop in {town} for {years} years.
            The shop belongs to {p} and lies in the middle of {town}.
            In {town} people like to buy from {p}.
        """),
        lines("""
            There are {big} {goods} that have to go.
            Rows of {goods} stand in the yard and wait.
            It is all about {goods}, old and new.
            The cellar and the yard are full of {goods}.
        """),
        lines("""
            Each piece now costs {price} coins, far less than before.
            The new price is {price} coins a piece.
            {price} coins are enough to take one home.
            Whoever pays {price} coins can choose one.
        """),
        lines("""
            The reason is simple: {reason}.
            Friends say that {reason}.
            A note on the door explains that {reason}.
            It has to be like this, because {reason}.
        """),
        lines("""
            After {day} the old prices come back.
            {day} is the last chance.
            It all ends on {day} at {time}.
            Those who come later than {day} are too late.
        """),
    ],
    fillers=lines("""
        In {town3} the same thing costs {price2} coins.
        {x}, who helps in the shop, made tea for all.
        A dog slept in front of the till.
        Cards are not taken.
        The shop of {x} across the road stays closed.
        The first buyer came at {time2}.
    """),
)


ROADWORKS = Genre(
    name="roadworks",
    extra={
        "road": [
            "stone bridge",
            "harbour road",
            "railway bridge",
            "mountain road",
            "river bridge",
            "market street",
        ],
        "work": [
            "the old pipes are full of holes|new pipes",
            "the stones have become loose|new stones",
            "the lamps no longer work|new lamps",
            "the walls have cracks|stronger walls",
            "there is no path for bikes|a bike path",
        ],
    },
    summary="The {road} in {town} is closed from {day} for {n} weeks to get {work_s}.",
    openers=lines("""
        The noise will start early, and nobody is happy about it.
        "We have to get up half an hour earlier," complained {x}, a nurse.
        Everybody complains about it, and still everybody uses it.
        Big yellow machines have arrived during the night.
        It has been a subject at every meeting since {month}.
    """),
    facts=[
        lines("""
            It is about the {road}, which is {num} years old.
            The {road} has seen better times.
            {big} cars use the {road} every day.
            Without the {road} many ways are longer.
        """),
        lines("""
            Experts found out that {work}.
            The trouble is that {work}.
            Something must be done, since {work}.
            In the spring somebody noticed that {work}.
        """),
        lines("""
            No car may pass once the men begin on {day}.
            The first stone will be lifted on {day}.
            Red signs will stop all cars on {day} at {time}.
            The machines start on {day}.
        """),
        lines("""
            If the weather is good, {n} weeks will be enough.
            The boss of the workers hopes to be ready after {n} weeks.
            {n} weeks are planned for this.
            It should not take longer than {n} weeks.
        """),
        lines("""
            The town hall of {town} asks for patience.
            {town} has to pay {big2} coins for it.
            For {town} it is the biggest work in years.
            Drivers in {town} need a good map now.
        """),
    ],
    fillers=lines("""
        Those who want to go to {town3} can take the train.
        {x} sells cold {drink} to the workers.
        The bus to {town3} leaves at {time2}.
        {x} would rather have a new playground.
        On {day2} the work stops for a festival.
        Children under {num2} ride for free.
    """),
)


FERRY = Genre(
    name="timetable",
    extra={
        "line": ["ferry", "night train", "morning bus", "tram", "market bus", "island boat"],
        "why": [
            "too few people used it|low demand",
            "pupils have to be at school in time|school hours",
            "the engine needs more rest|an old engine",
            "many workers asked for it|workers' wishes",
            "the fuel has become expensive|costly fuel",
        ],
    },
    summary="From {day} the {line} from {town} to {town2} leaves at {time} owing to {why_s}.",
    openers=lines("""
        Old habits are hard to change.
        "I read the sign three times," said {x}, who had missed it.
        A new piece of paper hangs on the wall of the waiting room.
        Those who like to sleep will have to look twice.
        In the office the phone has been ringing since early morning.
    """),
    facts=[
        lines("""
            The {line} will keep its old number, {num}.
            The {line} is loved by young and old.
            It is the {line} that is meant.
            Nobody wants to lose the {line}.
        """),
        lines("""
            People who go from {town} to {town2} should buy a new plan.
            Between {town} and {town2} things will be different.
            It connects {town} with {town2}, a trip of {num2} minutes.
            Those who live in {town} and work in {town2} know it well.
        """),
        lines("""
            Instead of {time2}, the clock will show {time} when it starts.
            The start used to be at {time2}, and now it is at {time}.
            Until now people came at {time2}, but soon it has to be {time}.
            No longer {time2} but {time} is the hour to remember.
        """),
        lines("""
            The reason given is that {why}.
            The boss explained that {why}.
            It had to be done, as {why}.
            One hears that {why}.
        """),
        lines("""
            The first day of the new plan is {day}.
            Everything stays as it was until {day}.
            {day} is the day of the change.
            It begins on {day}.
        """),
    ],
    fillers=lines("""
        A ticket still costs {price} coins.
        {x} drove the old route for {years} years.
        There is no stop in {town3} any more.
        On {day2} there is no service at all.
        Bikes cost {price2} coins.
        {x} from {town3} wrote an angry letter.
    """),
)


DONATION = Genre(
    name="donation",
    extra={
        "home": ["hospital", "school", "library", "fire station", "animal home", "kindergarten"],
        "gift": [
            "computers",
            "bicycles",
            "blankets",
            "books",
            "beds",
            "lamps",
            "chairs",
            "radios",
        ],
        "origin": [
            "the sale of old tools|old tools",
            "a long run for money|a run",
            "years of selling eggs|eggs",
            "a night of dancing|a dance",
            "a book of recipes|recipes",
        ],
    },
    summary="Thanks to money from {origin_s}, {p} gave {num} {gift} to the {town} {home} on {day}.",
    openers=lines("""
        A big parcel in front of the door made everybody curious.
        "We did not know what to say," said {x}, who opened it.
        There are people who do not like to talk about good deeds.
        It is better to give than to take.
        Tears and laughter came at the same time.
    """),
    facts=[
        lines("""
            Inside there were {gift}, {num} in all.
            {num} {gift} came to light.
            Two men carried in {gift} and counted up to {num}.
            They found {num} {gift}, all of them new.
        """),
        lines("""
            They are meant for the {home}, where money has been short.
            The {home} had hoped for them for a long time.
            The {home} can use every one of them.
            Now the {home} does not have to wait any longer.
        """),
        lines("""
            The friendly hand behind it is that of {p}.
            A small card carried the name {p}.
            {p} did not want any flowers.
            It was {p} who had the idea.
        """),
        lines("""
            The coins came from {origin}.
            They were paid for with {origin}.
            Everything started with {origin}.
            What began with {origin} has a happy end.
        """),
        lines("""
            On {day} there was a lot of joy in {town}.
            {town} will not forget this {day}.
            It was a good {day} for {town}.
            {town} said thank you on {day} with a song.
        """),
    ],
    fillers=lines("""
        {x} gave {price} coins too.
        A similar parcel reached {town3} in {month}.
        {x} made a speech of {n2} minutes.
        There was cake for {big} people.
        On {day2} the house is open to all.
        The lorry came from {town3}.
    """),
)

TOWN_NEWS = [OPENING, ELECTION, SALE, ROADWORKS, FERRY, DONATION]
