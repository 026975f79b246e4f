"""A row of each task, and a conversation."""

ROWS = {
    "summarize": {"document": "One. Two {summary}. Three. Four.", "summary": ["short", "other"]},
    "translate": {"source": "The dog.", "target": " Der Hund. "},
    "qa": {"context": "It rained. Mara Linden sang.", "question": "Who?", "answers": ["Mara"]},
}


TALK = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Who keeps a goat?"},
    {"role": "assistant", "content": "Mara."},
    {"role": "user", "content": "And bees?\n"},
    {"role": "assistant", "content": " Otto."},
]
