"""The rows of a test set, ready to be scored."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress

from llmkit.errors import UserError
from llmkit.tasks import Example, Row, Task, to_example


@dataclass(frozen=True)
class TestSet:
    """Rows that predictions are scored on, each templated once."""

    task: Task
    """The task, with metric settings that fit the references."""
    rows: list[Row]
    examples: list[Example]
    """The same rows as prompts and references."""
    answers: Counter[str]
    """Number of training rows with each answer, if the task has a majority baseline."""
    unlabeled: list[Example]
    """Classification: rows that are left out because they have no label."""

    @classmethod
    def of(cls, rows: Iterable[Row], task: Task, answers: Counter[str]) -> "TestSet":
        """Fill the rows into the template. Raises UserError if no row of a classification set has a
        label."""
        rows = list(rows)
        return cls.of_examples(rows, [to_example(row, task) for row in rows], task, answers)

    @classmethod
    def of_examples(
        cls, rows: list[Row], examples: list[Example], task: Task, answers: Counter[str]
    ) -> "TestSet":
        """Like `of`, for rows that are templated already."""
        references = [example.references for example in examples]
        known_labels = [[label] for label in answers] if task.output == "label" else []
        task = task.with_metrics_for(references + known_labels)
        if task.output != "label":
            return cls(task, rows, examples, answers, [])
        has_label = [example.references[0] != "" for example in examples]
        if not any(has_label):
            raise UserError(
                f"{examples[0].where}: no row from here on has a label; name labeled rows"
            )
        unlabeled = [e for e, has in zip(examples, has_label, strict=True) if not has]
        rows, examples = (list(compress(values, has_label)) for values in (rows, examples))
        return cls(task, rows, examples, answers, unlabeled)

    @property
    def references(self) -> list[list[str]]:
        """The accepted answers of each row."""
        return [example.references for example in self.examples]
