"""Classification: a text in, one of the labels that the training rows have out.

    {"id": "7", "text": "The soup was cold and nobody cared.", "label": "negative"}
    {"id": "8", "text": "Mara keeps a goat.", "text_pair": "Mara has a pet.", "label": "entailment"}

A second text, `text_pair`, is optional. Pairs are also recognized by their columns, such as
premise and hypothesis or sentence1 and sentence2 (llmkit/data/shapes.py).

The label is trained on as a completion, and predicted as the likeliest of all labels. Any set of
labels will do; say in the template what they describe, as in "{text}\\nTopic:". Labels that are
numbers, such as 1 to 5 stars, also get a mean absolute error and a quadratic weighted kappa.
"""

from llmkit.tasks.base import Task

TASK = Task(
    name="classify",
    inputs=("text", "text_pair"),
    target="label",
    truncatable_input="text",
    optional=("text_pair",),
    pair_input="text_pair",
    template="{text}{#text_pair}\n{text_pair}{/text_pair}\nLabel:",
    shapes=("sentences",),
    scores={
        "accuracy": True,
        "macro_f1": True,
        "auc": True,
        "calibration_error": False,
        "mean_absolute_error": False,
        "quadratic_kappa": True,
    },
    metrics=("classification:auto",),
    majority_baseline="majority label",
    output="label",
)
