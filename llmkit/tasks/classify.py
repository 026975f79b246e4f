"""Classification: a text in, one of the labels of the training rows out.

    {"id": "7", "text": "The soup was cold and nobody cared.", "label": "negative"}
    {"id": "8", "text": "Mara keeps a goat.", "text_pair": "Mara has a pet.", "label": "entailment"}

A second text, `text_pair`, is optional. Pairs are also recognized by the names of their columns,
such as premise and hypothesis or sentence1 and sentence2 (llmkit/data/shapes.py).

The model is trained on the label as a completion, and predicts the most likely of all labels. Any
labels work; let the template say what they describe, as in "{text}\\nTopic:". Labels that are
numbers, such as 1 to 5 stars, are also scored by mean absolute error and quadratic weighted
kappa.
"""

from llmkit.tasks.base import Task

TASK = Task(
    name="classify",
    inputs=("text", "text_pair"),
    target="label",
    truncatable_input="text",
    optional_inputs=("text_pair",),
    paired_input="text_pair",
    template="{text}{#text_pair}\n{text_pair}{/text_pair}\nLabel:",
    accepted_shapes=("sentences",),
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
