"""Conversations: someone tells of people or places and asks about them, turn by turn."""

from __future__ import annotations

import random

from .people import draw_portrait
from .quiz import draw_query

GREETINGS = ["Listen.", "Here is something for you.", "Read this.", "Look at this."]
SYSTEM = "Answer with what the text says."

Message = dict[str, str]


def draw_talk(rng: random.Random) -> list[Message]:
    """Draw the messages: a portrait with a question, its answer, one or two more of both."""
    portrait = draw_portrait(rng)
    messages: list[Message] = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": SYSTEM})
    opening = f"{rng.choice(GREETINGS)} {portrait.text}"
    asked: list[str] = []
    for _ in range(rng.choice([2, 3])):
        while True:
            query = draw_query(rng, portrait)
            if query.question not in asked:
                break
        asked.append(query.question)
        content = f"{opening} {query.question}" if opening else query.question
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": f"{query.answers[0]}."})
        opening = ""
    return messages
