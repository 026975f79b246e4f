"""Instructions of several kinds, most of them about a text, and their responses."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from .lexicon import Person
from .people import Portrait, draw_portrait
from .quiz import draw_query
from .reviews import draw_review
from .sums import draw_sum

LIST_NAMES = [
    "List the people in the order in which they appear.",
    "Who appears in the text? Give the first names in order.",
    "Write down the first names in the text.",
    "Name everybody in the text.",
]
COPY_SENTENCE = {
    "first": ["Copy the first sentence.", "How does the text begin? Quote its first sentence."],
    "last": ["Copy the last sentence.", "How does the text end? Quote its last sentence."],
    "longest": ["Copy the longest sentence.", "Which sentence is the longest? Quote it."],
}
ANSWER = [
    "Answer from the text: {question}",
    "{question} Use the text.",
    "Read the text and answer. {question}",
    "{question}",
]
JUDGE = [
    "Did the guest like the place? Answer in one sentence.",
    "Is the guest content? Answer in one sentence.",
    "Say in one sentence how the guest found it.",
]
VERDICTS = {
    "positive": "The guest liked the place.",
    "negative": "The guest did not like the place.",
    "mixed": "The guest liked some of it and disliked the rest.",
}
COMPUTE = ["{question}", "Work it out. {question}", "{question} Show the steps."]


class Instruction(NamedTuple):
    """What to do, the text to do it to (may be empty), and the response."""

    instruction: str
    input: str
    output: str


def draw_instruction(rng: random.Random) -> Instruction:
    """Draw an instruction of any kind. Every third one about a text holds the text itself."""
    kind = rng.choice([list_names, copy_sentence, answer, answer, judge, compute])
    drawn = kind(rng)
    if drawn.input and rng.random() < 1 / 3:
        return Instruction(f"{drawn.instruction}\n{drawn.input}", "", drawn.output)
    return drawn


def list_names(rng: random.Random) -> Instruction:
    """The people of a portrait in the order of the text."""
    while True:
        portrait = draw_portrait(rng)
        if all(isinstance(subject, Person) for subject in portrait.subjects):
            break
    names = [portrait.name(index) for index in range(len(portrait.subjects))]
    *others, last = sorted(names, key=portrait.text.index)
    return Instruction(rng.choice(LIST_NAMES), portrait.text, f"{', '.join(others)} and {last}.")


def copy_sentence(rng: random.Random) -> Instruction:
    """One sentence of a portrait."""
    portrait = draw_portrait(rng)
    sentences = sentences_of(portrait)
    which = rng.choice(list(COPY_SENTENCE))
    places = {"first": sentences[0], "last": sentences[-1], "longest": max(sentences, key=len)}
    return Instruction(rng.choice(COPY_SENTENCE[which]), portrait.text, places[which])


def sentences_of(portrait: Portrait) -> list[str]:
    return re.split(r"(?<=[.?!]) ", portrait.text)


def answer(rng: random.Random) -> Instruction:
    """A question about a portrait."""
    portrait = draw_portrait(rng)
    query = draw_query(rng, portrait)
    instruction = rng.choice(ANSWER).format(question=query.question)
    return Instruction(instruction, portrait.text, f"{query.answers[0]}.")


def judge(rng: random.Random) -> Instruction:
    """What a guest thinks of a place."""
    review = draw_review(rng)
    return Instruction(rng.choice(JUDGE), review.text, VERDICTS[review.verdict])


def compute(rng: random.Random) -> Instruction:
    """A sum in a story, worked out."""
    drawn = draw_sum(rng)
    *steps, last = drawn.answer.split("\n")
    number = last.removeprefix("#### ")
    instruction = rng.choice(COMPUTE).format(question=drawn.question)
    return Instruction(instruction, "", f"{', '.join(steps)}. The answer is {number}.")
