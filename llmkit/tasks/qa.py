"""Question answering over a given context, scored like SQuAD 1.1 and 2.0.

    {"id": "7", "context": "Mara keeps a goat. Otto keeps bees.",
     "question": "Who keeps a goat?", "answers": ["Mara"]}

`answers` may be a list of accepted answers: the model is trained on the first, and the best match
counts. If the list is empty, the question has no answer: only end-of-text is supervised, and an
empty prediction is right. Files in SQuAD's own format, such as train-v2.0.json, can be read too.
"""

import re

from llmkit.metrics.sentences import split_sentences
from llmkit.tasks.base import Row, Task


def first_name(row: Row) -> str:
    """The context's first name, a naive guess: one capitalised word within a sentence, or two in a
    row."""
    names = re.findall(r"\b[A-Z]\w+ [A-Z]\w+|(?<!^)(?<![.!?] )\b[A-Z]\w+", row["context"])
    return names[0] if names else ""


def likeliest_sentence(row: Row) -> str:
    """The sentence of the context that shares the most words with the question."""
    question = set(re.findall(r"\w+", row["question"].lower()))
    sentences = split_sentences(row["context"])
    return max(sentences, key=lambda s: len(question & set(re.findall(r"\w+", s.lower()))))


TASK = Task(
    name="qa",
    inputs=("context", "question"),
    target="answers",
    truncatable_input="context",
    template="Context: {context}\nQuestion: {question}\nAnswer:",
    scores={
        "exact_match": True,
        "f1": True,
        **dict.fromkeys(("HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"), True),
        "bleu": True,
        "rougeL": True,
    },
    metrics=("squad", "bleu:auto:effective", "rouge"),
    allows_no_answer=True,
    baselines={"first name": first_name, "likeliest sentence": likeliest_sentence},
)
