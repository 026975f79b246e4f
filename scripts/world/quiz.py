"""Questions about portraits: single rows for the qa task, and quizzes in prose for the corpus."""

from __future__ import annotations

import random
from typing import NamedTuple

from .lexicon import Person, article, capital, draw_people
from .people import Fact, Portrait, draw_portrait, phrase

# How often a question is kept whose answer is the first candidate in the text.
KEEP_FIRST = 0.15
# Attributes whose values are things that one can count: "a cat" is as good as "cat".
WITH_ARTICLE = ["job", "pet", "gift", "animal"]


class Query(NamedTuple):
    """A question, its accepted answers (spans of the text) and the fact behind it."""

    question: str
    answers: list[str]
    fact: Fact
    about_value: bool


def ask_value(rng: random.Random, portrait: Portrait, fact: Fact) -> Query:
    """Ask for the value of a fact: "Where does Mara live?"."""
    name = portrait.name(fact.subject, full=rng.random() < 0.3)
    question = rng.choice(fact.attribute.asks).format(N=name, n=name)
    long = [f"{fact.value} coins"]
    if fact.attribute.name in WITH_ARTICLE:
        long = [f"{article(fact.value)} {fact.value}"]
    return Query(question, accepted(portrait.text, fact.value, long), fact, True)


def ask_who(rng: random.Random, portrait: Portrait, fact: Fact) -> Query:
    """Ask whose value it is: "Who lives in Brackwater?"."""
    value = {"v": fact.value, "av": f"{article(fact.value)} {fact.value}"}
    question = rng.choice(fact.attribute.who).format(**value)
    short = portrait.name(fact.subject).removeprefix("the ")
    long = [portrait.name(fact.subject, full=True)]
    return Query(question, accepted(portrait.text, short, long), fact, False)


def accepted(text: str, short: str, long: list[str]) -> list[str]:
    """The short answer, and the first longer form that the text contains."""
    return [short, *[form for form in long if form != short and form in text][:1]]


def draw_query(rng: random.Random, portrait: Portrait) -> Query:
    """Draw one question; those with the first candidate as the answer are drawn less often."""
    while True:
        fact = rng.choice(portrait.facts)
        query = (ask_value if rng.random() < 0.65 else ask_who)(rng, portrait, fact)
        if not is_first(portrait, query) or rng.random() < KEEP_FIRST:
            return query


def is_first(portrait: Portrait, query: Query) -> bool:
    """Tell whether the answer is the first of its candidates in the text."""
    if query.about_value:
        same = [f.value for f in portrait.facts if f.attribute is query.fact.attribute]
    else:
        same = [portrait.name(i).removeprefix("the ") for i in range(len(portrait.subjects))]
    return min(same, key=portrait.text.index) == query.answers[0]


def draw_question(rng: random.Random) -> tuple[Portrait, Query]:
    """Draw a row of the qa task."""
    portrait = draw_portrait(rng)
    return portrait, draw_query(rng, portrait)


def full_answer(rng: random.Random, portrait: Portrait, query: Query) -> str:
    """Answer in a sentence: "She lives in Brackwater." or "Mara lives in Brackwater."."""
    subject = portrait.subjects[query.fact.subject]
    name = portrait.name(query.fact.subject)
    if query.about_value and isinstance(subject, Person) and rng.random() < 0.7:
        name = subject.he
    return capital(f"{name} {phrase(rng, query.fact)}.")


def plain(rng: random.Random, portrait: Portrait, queries: list[Query]) -> str:
    """Questions with whole sentences as answers."""
    return " ".join(f"{q.question} {full_answer(rng, portrait, q)}" for q in queries)


def short(rng: random.Random, portrait: Portrait, queries: list[Query]) -> str:
    """Questions with the bare answer behind a sign or a word."""
    sign = rng.choice(["", " –", " ->", " ...", " Solution:"])
    head = rng.choice(["", "Quiz: ", "A short quiz. ", "Do you remember? ", "Now think. "])
    return head + " ".join(f"{q.question}{sign} {q.answers[0]}." for q in queries)


def numbered(rng: random.Random, portrait: Portrait, queries: list[Query]) -> str:
    """A numbered list, one question with its answer per line."""
    rows = [f"{i}. {q.question} {q.answers[0]}" for i, q in enumerate(queries, start=1)]
    return "\n" + "\n".join(rows)


def separate(rng: random.Random, portrait: Portrait, queries: list[Query]) -> str:
    """All questions first, then all answers in the same order."""
    some = queries[:3]
    asked = " ".join(q.question for q in some)
    return f"{asked} The answers are {', '.join(q.answers[0] for q in some)}."


def talk(rng: random.Random, portrait: Portrait, queries: list[Query]) -> str:
    """A conversation between two people who were not in the text."""
    names = [p.first for p in portrait.subjects if isinstance(p, Person)]
    while True:
        a, b = draw_people(rng, 2)
        if a.first not in names and b.first not in names:
            break
    told = [
        f'"{q.question}" asked {a.first}. "{capital(q.answers[0])}," said {b.first}.'
        for q in queries
    ]
    return " ".join(told)


def dashes(rng: random.Random, portrait: Portrait, queries: list[Query]) -> str:
    """A dialogue with a dash before every turn."""
    return "\n" + "\n".join(f"– {q.question}\n– {q.answers[0]}" for q in queries)


def recap(rng: random.Random, portrait: Portrait, queries: list[Query]) -> str:
    """No questions, but a list of names with their values."""
    parts = [f"{portrait.name(q.fact.subject, full=True)}: {q.fact.value}" for q in queries]
    return rng.choice(["To remember: ", "Notes: ", "In the notebook: "]) + "; ".join(parts) + "."


LAYOUTS = [plain, plain, short, short, short, numbered, separate, talk, dashes, recap]


def draw_quiz(rng: random.Random) -> tuple[str, str]:
    """Draw (portrait, the same text, most of the time followed by several questions about it)."""
    portrait = draw_portrait(rng)
    if rng.random() < 0.15:
        return portrait.text, portrait.text
    asked = [(ask, fact) for ask in (ask_value, ask_who) for fact in portrait.facts]
    queries = [ask(rng, portrait, fact) for ask, fact in rng.sample(asked, rng.randrange(6, 11))]
    text = f"{portrait.text} {rng.choice(LAYOUTS)(rng, portrait, queries)}"
    return portrait.text, text.replace(" \n", "\n")
