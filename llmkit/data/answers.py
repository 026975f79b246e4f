"""The answers of the training rows: labels to choose from, and how frequent each answer is."""

from collections import Counter
from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from llmkit.data.encode import encode_text
from llmkit.errors import UserError, did_you_mean, first_few, printable
from llmkit.metrics.labels import label_of, spelled_out
from llmkit.tasks import Example, Row, Task, to_example


def count_answers(rows: Iterable[Row], task: Task) -> Counter[str]:
    """Number of rows with each answer as first reference; empty unless the task needs it."""
    if task.majority_baseline is None:
        return Counter()
    if task.output == "label":
        answers = Counter(label_of(row[task.target]) for row in rows)
    else:
        answers = Counter(task.extract_answer(to_example(row, task).completion) for row in rows)
    del answers[""]  # those rows are left out
    return answers


def check_labels(examples: list[Example], labels: Iterable[str]) -> None:
    """Raise UserError if a row has a label that no training row has."""
    labels = list(labels)
    unknown: dict[str, list[str]] = {}
    for example in examples:
        if example.references[0] not in labels:
            unknown.setdefault(example.references[0], []).append(example.where)
    if unknown:
        locations = first_few([where for wheres in unknown.values() for where in wheres])
        names = first_few([spelled_out(printable(label, 40)) for label in unknown])
        known = first_few([spelled_out(printable(label, 40)) for label in labels])
        raise UserError(
            f"{locations}: no training row has the label{'s' if len(unknown) > 1 else ''} {names}; "
            f"training rows have {known}: fix the rows, or add rows with the label to data.train"
            f"{did_you_mean(next(iter(unknown)), labels)}"
        )


def encode_labels(
    labels: Iterable[str], tokenizer: PreTrainedTokenizerBase
) -> dict[str, list[int]]:
    """Token ids of each label as a completion, end-of-text last; labels in alphabetical order."""
    labels = sorted(labels)
    if not labels:
        raise UserError(
            "data.train: no row has a label; name another column with data.columns.label"
        )
    if len(labels) < 2:
        raise UserError(
            f"data.train: all rows have the label {labels[0]!r}; classify needs at least two labels"
        )
    ids = encode_text([f" {label}" for label in labels], tokenizer)
    return {
        label: [*tokens, tokenizer.eos_token_id] for label, tokens in zip(labels, ids, strict=True)
    }
