"""Classification: a text in, one of the labels that the training rows have out.

    {"id": "7", "text": "The soup was cold and nobody cared.", "label": "negative"}

The label is learnt as a completion, and chosen by its likelihood among all labels. Any set of them
will do; say in the template what they are of, as in "{text}\\nTopic:".
"""

from llmkit.tasks.base import Task

TASK = Task(
    name="classify",
    inputs=("text",),
    target="label",
    long_input="text",
    template="{text}\nLabel:",
    scores={"accuracy": True, "macro_f1": True, "auc": True, "calibration_error": False},
    metrics=("classification",),
    majority="majority label",
    chooses=True,
)
