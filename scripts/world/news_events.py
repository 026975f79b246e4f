"""News genres about games, shows and contests: plain data for the engine in news.py."""

from __future__ import annotations

from .genre import Genre
from .lexicon import lines

MATCH = Genre(
    name="match",
    extra={"sport": ["football", "handball", "hockey", "volleyball"]},
    summary="{p} led {town} to a {hi} to {lo} {sport} win over {town2} on {day}.",
    openers=lines("""
        Long before the start there was no free seat left in the small hall.
        "We wanted to enjoy the game and nothing else," said {x} from the local paper.
        Light rain fell all afternoon, but the fans kept singing.
        The last meeting of these two clubs, in {month}, had ended without a winner.
        A brass band from {town3} played while the teams warmed up.
    """),
    facts=[
        lines("""
            The visitors had come by bus from {town2} with high hopes.
            Guests from {town2} were expected to be too strong this time.
            {town2} sent its best players and started well.
            For the visitors from {town2} it was the third journey of the month.
        """),
        lines("""
            When the whistle blew, the board showed {hi} for the hosts and {lo} for the guests.
            The hosts scored {hi} times, while the other side found the net {lo} times.
            With {hi} goals at one end and {lo} at the other, nobody was bored.
            At the final whistle it stood {hi} to {lo} for the hosts.
        """),
        lines("""
            Nobody was better than captain {p}, who seemed to be everywhere.
            Most of the danger came from {p}, the captain of the hosts.
            Captain {p} was carried from the field by happy friends.
            The fans shouted the name of captain {p} again and again.
        """),
        lines("""
            The {sport} ground of {town} was full that {day}.
            All this took place on {day} in {town}, where {sport} is the favourite sport.
            {town} had chosen {day} for the most important {sport} game of the season.
            It was a {day} to remember for everybody in {town} who likes {sport}.
        """),
    ],
    fillers=lines("""
        A goal by {x} did not count.
        In the break {big} sausages were sold.
        Next time the team has to play in {town3}.
        {x}, who is only {age} years old, sat on the bench.
        The next game is planned for {day2}.
        Both trainers thanked the referee, {x} from {town3}.
    """),
)


CONCERT = Genre(
    name="concert",
    extra={
        "group": ["choir", "brass band", "orchestra", "trio", "jazz band"],
        "place": ["old church", "town hall", "market hall", "castle yard", "school hall"],
        "cause": [
            "new chairs|buy chairs",
            "a new roof|repair a roof",
            "warm coats for children|buy coats",
            "books for the hospital|buy books",
            "a ramp for wheelchairs|build a ramp",
        ],
    },
    summary="{p} and the {town} {group} raised {big} coins to {cause_s} on {day}.",
    openers=lines("""
        Snow lay on the steps, and the candles were already burning.
        "My feet could not keep still," said {x}, who sat in the last row.
        Some people had to stand, and nobody seemed to mind.
        Good music needs no big city.
        It was so quiet that one could hear the clock.
    """),
    facts=[
        lines("""
            The {group} had practised the songs since {month}.
            The {group} opened with a slow song about the sea.
            It was the {group} that had invited everybody.
            The {group} wore dark clothes and {colour} scarves.
        """),
        lines("""
            The {place} of {town} was warm and full.
            Inside the {place} of {town} there were {num} rows of chairs.
            The {place} in {town} was built for moments like this.
            People from all parts of {town} filled the {place}.
        """),
        lines("""
            {p} played the {instrument} and was asked to play again.
            The loudest cheers were for {p} at the {instrument}.
            Many had come because of {p}, who plays the {instrument}.
            With eyes closed, {p} played the {instrument} alone.
        """),
        lines("""
            The hat that went round on {day} was meant for {cause}.
            On {day} everybody gave something for {cause}.
            It was {day}, and people had been asked to give money for {cause}.
            The money from {day} will be spent on {cause}.
        """),
        lines("""
            {big} coins were in the box when it was opened.
            In the end the box held {big} coins.
            A child counted the money twice and found {big} coins.
            {big} coins were counted after the last song.
        """),
    ],
    fillers=lines("""
        {x} had baked a cake with cherries.
        The next evening of this kind takes place in {town3}.
        A ticket for the front row cost {price} coins.
        The {instrument2} of {x} was broken.
        Last year only {num2} people came.
        On {day2} the room is used for dancing.
    """),
)


FAIR = Genre(
    name="science",
    extra={
        "topic": [
            "how bees find flowers|bees",
            "why bridges do not fall|bridges",
            "how salt melts ice|ice",
            "how plants drink|plants",
            "what stars are made of|stars",
            "how wind becomes light|wind power",
            "why leaves turn red|leaves",
        ],
        "prize": ["telescope", "microscope", "camera", "computer", "globe"],
    },
    summary="{p}, {age}, from {town} won a {prize} on {day} for a science project about {topic_s}.",
    openers=lines("""
        Wires, glasses and strange smells filled the long corridor.
        "Do not touch anything," a small sign said.
        At first there was a loud bang, and then everybody laughed.
        The teachers had nothing to do but look and wonder.
        "I understood only half of it," said {x}, the father of two boys.
    """),
    facts=[
        lines("""
            One table showed {topic}, with the help of a big drawing.
            The best table explained {topic} in three simple steps.
            Most visitors stopped at the table that showed {topic}.
            A short film made clear {topic}.
        """),
        lines("""
            It was the work of {p}, who had needed {n} weeks for it.
            The young person behind it is called {p}.
            {p} had read {n} books and asked many people.
            Behind that table stood {p}, a little nervous.
        """),
        lines("""
            At the age of {age} one does not often speak in front of {big} people.
            Not bad for somebody of {age}.
            Many guests could not believe that the speaker was just {age}.
            {age} is young for such an idea.
        """),
        lines("""
            The judges handed over a {prize} in a big box.
            A {prize} was waiting for the best idea.
            The first place brought a {prize}, given by a bank.
            There was a {prize} for the first place and a book for the second.
        """),
        lines("""
            The schools of {town} meet like this every year, this time on {day}.
            {town} had cleaned its biggest school for the {day}.
            On {day} all the schools of {town} took part.
            It was the {day} on which {town} shows its clever children.
        """),
    ],
    fillers=lines("""
        Second place went to {x} from {town3}.
        {x} showed a lamp made of {num2} potatoes.
        A robot fell from the table.
        The club meets every {day2} at {time}.
        Last year nobody from {town3} came.
        The school cook brought {big2} pancakes.
    """),
)


EXHIBITION = Genre(
    name="exhibition",
    extra={
        "things": [
            "pictures of the sea|paintings",
            "old maps|maps",
            "wooden toys|toys",
            "glass birds|glass art",
            "photos of farms|photos",
            "masks from far away|masks",
            "stones and shells|stones",
        ],
        "guests": ["children", "pupils", "families", "nurses", "people over seventy|the old"],
    },
    summary="The {town} museum shows {num} {things_s} by {p} from {day} on, free for {guests_s}.",
    openers=lines("""
        White walls and soft light wait behind the heavy door.
        "One can look at this for hours," said {x}, who cleans the rooms.
        It rained outside, and so there was no reason to hurry.
        The oldest part of the house was cold and empty for years.
        A small girl asked if she could take one home.
    """),
    facts=[
        lines("""
            On the walls and tables there are {things}.
            {things!c} are the subject this time.
            What the guests see are {things}.
            The new rooms are full of {things}.
        """),
        lines("""
            They were made or found by {p}, who lives in {town2}.
            Everything comes from {p}, a quiet person from {town2}.
            {p} needed many years for this work.
            The person behind all this, {p}, stood in a corner.
        """),
        lines("""
            {num} pieces have found a place.
            Out of {big} pieces, {num} were chosen.
            The guide counts {num} pieces.
            One needs time, for there are {num} pieces.
        """),
        lines("""
            The first guests may come in on {day}.
            {day} is the first day.
            It begins on {day} at {time} with a short speech.
            The doors open on {day}.
        """),
        lines("""
            The museum of {town} asks for {price} coins, but {guests} pay nothing.
            {guests!c} do not have to pay at the museum of {town}.
            For {guests} the museum of {town} takes no money.
            At the museum of {town} only {guests} get in without paying.
        """),
    ],
    fillers=lines("""
        A room with works by {x} is closed until {month}.
        {x} plays the {instrument} on {day2}.
        The last guests have to leave at {time2}.
        Later everything moves to {town3}.
        A book about it costs {price2} coins.
        Photos are not allowed.
    """),
)


CONTEST = Genre(
    name="contest",
    extra={
        "dish": [
            "apple cake",
            "onion soup",
            "fish pie",
            "cherry jam",
            "potato salad",
            "plum cake",
            "nut bread",
        ],
        "secret": ["honey", "salt", "cinnamon", "butter", "ginger", "lemon"],
    },
    summary="With {dish} and a little {secret}, {p} beat {num} cooks in {town} on {day}.",
    openers=lines("""
        The smell could be noticed three streets away.
        "I have eaten too much," said {x}, one of the guests.
        Pots, pans and spoons were everywhere.
        There are easier ways to spend a free day.
        At noon the kitchen was as hot as an oven.
    """),
    facts=[
        lines("""
            {num} people with white hats had come to {town}.
            In {town} {num} people stood at the ovens.
            The long tables of {town} had room for {num} people with spoons.
            {town} had found {num} people who wanted to try.
        """),
        lines("""
            They all knew that only one of them would get the golden spoon on {day}.
            The golden spoon was given away on {day}.
            {day} was the big day for the golden spoon.
            On {day} the golden spoon lay on a cushion.
        """),
        lines("""
            The plate of {p} was empty first.
            The three judges put down their forks and pointed at {p}.
            When the name {p} was called, there was a loud cheer.
            It went to {p}, who did not know what to say.
        """),
        lines("""
            The winning plate held {dish}, just like at home.
            Everybody wanted a second piece of the {dish}.
            Who would have thought that {dish} can be so good?
            It was {dish} that made the judges smile.
        """),
        lines("""
            The secret, we learned, is {secret}.
            A spoon of {secret} makes it special.
            "You only have to add {secret}," the winner said.
            Grandmother always used {secret}, and that helped.
        """),
    ],
    fillers=lines("""
        {x} dropped a bowl and had to start again.
        {x} from {town3} made a soup with {food}.
        The recipe costs {price} coins.
        Next year {town3} will be the host.
        {big} plates had to be washed.
        On {day2} the kitchen is closed.
    """),
)

EVENTS = [MATCH, CONCERT, FAIR, EXHIBITION, CONTEST]
