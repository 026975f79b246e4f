"""What the training rows answer, and how often: the labels that a classifier chooses from."""

from collections import Counter
from collections.abc import Iterable

from llmkit.errors import UserError, did_you_mean, first_few, printable
from llmkit.metrics.labels import label_of, spelled_out
from llmkit.tasks import Example, Row, Task, to_example


def count_answers(rows: Iterable[Row], task: Task) -> Counter[str]:
    """How often each answer is the one to learn; nothing where the task does not ask."""
    if task.majority_baseline is None:
        return Counter()
    if task.output == "label":
        answers = Counter(label_of(row[task.target]) for row in rows)
    else:
        answers = Counter(task.extract_answer(to_example(row, task).completion) for row in rows)
    del answers[""]  # rows that are left out
    return answers


def check_labels(examples: list[Example], labels: Iterable[str]) -> None:
    """Raise UserError for a label that no training row has."""
    labels = list(labels)
    strange: dict[str, list[str]] = {}
    for example in examples:
        if example.references[0] not in labels:
            strange.setdefault(example.references[0], []).append(example.where)
    if strange:
        places = first_few([where for wheres in strange.values() for where in wheres])
        names = first_few([spelled_out(printable(label, 40)) for label in strange])
        known = first_few([spelled_out(printable(label, 40)) for label in labels])
        raise UserError(
            f"{places}: no training row has the label{'s' if len(strange) > 1 else ''} {names}; "
            f"training rows have {known}: fix the rows, or add rows with the label to data.train"
            f"{did_you_mean(next(iter(strange)), labels)}"
        )
