"""Summarization: a document in, its summary out, scored with ROUGE.

    {"id": "7", "document": "The council met ... It will close on Friday.",
     "summary": "Brackwater's council closes the harbour bridge on Friday."}

The cue `TL;DR:` is the one of the GPT-2 paper (Radford et al. 2019, section 3.6). `summary` may
be a list: the first is learnt, and a prediction is scored against each and the best one counts.
"""

import re

from llmkit.tasks.base import Row, Task


def lead(num_sentences: int):
    """The document's first sentences: the baseline to beat (Lead-3 of See et al. 2017)."""

    def first_sentences(row: Row) -> str:
        sentences = re.split(r"(?<=[.!?])\s+", row["document"].strip())
        return " ".join(sentences[:num_sentences])

    return first_sentences


TASK = Task(
    name="summarize",
    inputs=("document",),
    target="summary",
    long_input="document",
    template="{document}\n\nTL;DR:",
    scores={"rougeL": True, "rouge1": True, "rouge2": True, "rougeLsum": True},
    metrics=("rouge",),
    baselines={"lead-1": lead(1), "lead-3": lead(3), "copy of the source": lambda r: r["document"]},
)
