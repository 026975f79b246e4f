"""Summarization: a document in, its summary out, scored with ROUGE.

    {"id": "7", "document": "The council met ... It will close on Friday.",
     "summary": "Brackwater's council closes the harbour bridge on Friday."}

The cue `TL;DR:` comes from the GPT-2 paper (Radford et al. 2019, section 3.6). `summary` may be a
list: the model is trained on the first, and a prediction is scored against the best match.
"""

import random

from llmkit.metrics.sentences import split_sentences
from llmkit.tasks.base import Row, Task


def lead(num_sentences: int):
    """A baseline that predicts the document's first sentences (Lead-3 of See et al. 2017)."""

    def first_sentences(row: Row) -> str:
        return " ".join(split_sentences(row["document"])[:num_sentences])

    return first_sentences


def random_3(row: Row) -> str:
    """Three sentences, sampled with the row's id as the seed, in the order of the document."""
    sentences = split_sentences(row["document"])
    drawn = random.Random(row["id"]).sample(range(len(sentences)), min(3, len(sentences)))
    return " ".join(sentences[place] for place in sorted(drawn))


TASK = Task(
    name="summarize",
    inputs=("document",),
    target="summary",
    truncatable_input="document",
    template="{document}\n\nTL;DR:",
    scores={"rougeL": True, "rouge1": True, "rouge2": True, "rougeLsum": True},
    metrics=("rouge",),
    has_reference_lists=True,
    baselines={
        "lead-1": lead(1),
        "lead-3": lead(3),
        "random-3": random_3,
        "copy of the source": lambda row: row["document"],
    },
)
