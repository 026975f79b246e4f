"""Translation: a text in one language in, the same in another out, scored with BLEU and chrF.

    {"id": "7", "source": "The dog sleeps.", "target": "Der Hund schläft."}

The prompt names English and German; for other languages set `template`. `target` may be a list:
the first is learnt, all of them are references.
"""

from llmkit.metrics import compute, describe
from llmkit.tasks.base import Scores, Task


def score(predictions: list[str], references: list[list[str]]) -> Scores:
    """Corpus BLEU and chrF by sacreBLEU, 0-100."""
    return {**compute("bleu", predictions, references), **compute("chrf", predictions, references)}


TASK = Task(
    name="translate",
    inputs=("source",),
    target="target",
    long_input="source",
    template="English: {source}\nGerman:",
    metrics={"bleu": True, "chrf": True},
    score=score,
    baselines={"copy of the source": lambda row: row["source"]},
    signature=lambda: f"{describe('bleu')}; {describe('chrf')}",
)
