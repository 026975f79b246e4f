"""Documents for pretraining: rolls, registers, cards, news, quizzes, bilingual pages, stories."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from .lexicon import draw_people
from .news import draw_report
from .patterns import draw_pair
from .quiz import draw_quiz
from .registers import draw_cards, draw_register, draw_roll
from .sentences import Pair
from .stories import draw_tale

CLOSINGS = ["In short: {}", "To sum up: {}", "In one sentence: {}", "Short news: {}"]
NOTES = ["In the notebook –", "Key words –", "To remember –"]
BOOK_TITLES = ["Phrase book", "English and German", "Useful sentences", "A page for learners"]
GERMAN_MARKS = ["Auf Deutsch:", "In German one says", "Deutsch –", "Das heißt:"]
LOW, HIGH = 60, 150

# Weights of the kinds, before those too short or too long are drawn again. A small model has to
# learn to copy before it can learn to look up, and to look up by one word before it can by two;
# then it practises on what the tasks are made of, and at last rehearses everything.
COPYING = {"roll": 20, "register": 10, "news": 20, "quiz": 25, "page": 20, "tale": 5}
LOOKING_UP = {
    "roll": 5, "register": 5, "cards": 15, "news": 20, "quiz": 40, "page": 12, "tale": 3,
}  # fmt: skip
PRACTISING = {"news": 40, "quiz": 35, "page": 20, "cards": 5}
REHEARSING = {
    "roll": 4, "register": 4, "cards": 5, "news": 30, "quiz": 25, "page": 30, "tale": 2,
}  # fmt: skip
MIXES = {
    "copying": COPYING,
    "looking-up": LOOKING_UP,
    "practising": PRACTISING,
    "rehearsing": REHEARSING,
}


class Corpus:
    """Draws documents that hold nothing of the rows kept for validation and test."""

    def __init__(self, rng: random.Random, held_out: Collection[str], mix: str) -> None:
        self.rng = rng
        self.held_out = frozenset(held_out)
        self.kinds, self.weights = zip(*MIXES[mix].items(), strict=True)
        self.draw: dict[str, Callable[[], str]] = {
            "roll": lambda: draw_roll(rng),
            "register": lambda: draw_register(rng),
            "cards": lambda: draw_cards(rng),
            "tale": lambda: draw_tale(rng),
            "quiz": self.quiz,
            "news": self.news,
            "page": self.page,
        }

    def document(self) -> str:
        """Draw one document of 60 to 150 words."""
        while True:
            (kind,) = self.rng.choices(self.kinds, self.weights)
            text = self.draw[kind]()
            if text not in self.held_out and LOW <= len(text.split()) <= HIGH:
                return text

    def quiz(self) -> str:
        """Questions about a portrait that is not held out."""
        while True:
            portrait, text = draw_quiz(self.rng)
            if portrait not in self.held_out:
                return text

    def news(self) -> str:
        """A report, most of the time with a sentence that sums it up, or with its key facts."""
        while True:
            report = draw_report(self.rng)
            if report.document not in self.held_out and report.summary not in self.held_out:
                break
        chance = self.rng.random()
        if chance < 0.45:
            return f"{report.document} {self.rng.choice(CLOSINGS).format(report.summary)}"
        if chance < 0.5:
            return f"{report.summary}\n{report.document}"
        if chance < 0.9:
            notes = self.rng.sample(report.notes, len(report.notes))
            return f"{report.document}\n{self.rng.choice(NOTES)} {'; '.join(notes)}."
        return report.document

    def pair(self) -> Pair:
        """A sentence pair that is not held out."""
        while True:
            pair = draw_pair(self.rng)
            if not self._is_held_out(pair.en) and not self._is_held_out(pair.de):
                return pair

    def _is_held_out(self, text: str) -> bool:
        """Tell whether a sentence, or its end ("Today I sleep at home."), is held out."""
        words = text.split()
        return any(" ".join(words[start:]) in self.held_out for start in range(len(words)))

    def page(self) -> str:
        """A page of sentences in both languages, or in one of them."""
        pairs = [self.pair() for _ in range(self.rng.randrange(6, 10))]
        layout = self.rng.choice(["dash", "dash", "mark", "mark", "lines", "talk", "blocks", "one"])
        if layout == "dash":
            return self._titled([f"{p.en} – {p.de}" for p in pairs])
        if layout == "mark":
            mark = self.rng.choice(GERMAN_MARKS)
            return " ".join(f"{p.en} {mark} {p.de}" for p in pairs)
        if layout == "lines":
            return self._titled([f"{p.en}\n{p.de}" for p in pairs])
        if layout == "talk":
            return self._talk(pairs)
        if layout == "blocks":
            half = pairs[:5]
            return " ".join(p.en for p in half) + "\n" + " ".join(p.de for p in half)
        side = self.rng.randrange(2)
        return " ".join(p[side] for p in pairs + [self.pair() for _ in range(4)])

    def _titled(self, rows: list[str]) -> str:
        return "\n".join([self.rng.choice(BOOK_TITLES), *rows])

    def _talk(self, pairs: list[Pair]) -> str:
        """A pupil asks, the teacher translates."""
        pupil, teacher = draw_people(self.rng, 2)
        return "\n".join(
            f'{pupil.first}: "{p.en}" What is that in German? {teacher.first}: "{p.de}"'
            for p in pairs
        )
