"""Translation: a text in one language in, the same in another out, scored with BLEU, chrF and TER.

    {"id": "7", "source": "The dog sleeps.", "target": "Der Hund schläft."}

The prompt names English and German; for other languages set `template`. `target` may be a list:
the first is learnt, all of them are references.
"""

from llmkit.tasks.base import Task

TASK = Task(
    name="translate",
    inputs=("source",),
    target="target",
    long_input="source",
    template="English: {source}\nGerman:",
    scores={"bleu": True, "chrf": True, "ter": False},
    metrics=("bleu", "chrf", "ter"),
    baselines={"copy of the source": lambda row: row["source"]},
)
