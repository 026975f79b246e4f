"""The mapping from columns of the task to columns of the data.

`data.columns` maps each column of the task to a column of the data, for all splits or for one. The
target can be mapped to several columns, each of which holds an accepted text.
"""

from collections.abc import Mapping
from typing import Any

from llmkit.config.schema import Data
from llmkit.errors import UserError, did_you_mean
from llmkit.tasks import Task

Columns = Mapping[str, str | list[str]]  # column of the task -> one or several of the data


def columns_of(data: Data, split: str) -> Columns:
    """The mapping for a split: its own, and for the other columns the one for all splits."""
    shared = {name: column for name, column in data.columns.items() if _is_column(column)}
    own = data.columns.get(split, {})
    return shared if _is_column(own) else shared | own


def check_columns(data: Data, task: Task) -> None:
    """Raise UserError if `data.columns` names an unknown split or an unknown column of the task."""
    splits = ("train", "validation", "test", *data.tests)
    for key, value in data.columns.items():
        if _is_column(value):
            if key in splits:
                raise UserError(
                    f"data.columns.{key}: {key} is a split; name its columns one by one, as in "
                    f"data.columns.{key}.{task.target}=COLUMN"
                )
            _check_column(f"data.columns.{key}", key, value, task, splits)
            continue
        if key not in splits:
            raise UserError(
                f"data.columns.{key}: no such split; the splits are {', '.join(splits)}"
                f"{did_you_mean(key, list(splits))}"
            )
        for name, column in value.items():
            _check_column(f"data.columns.{key}.{name}", name, column, task, ())


def check_held_out_columns(data: Data) -> None:
    """Raise UserError if `data.columns` has a mapping of its own for rows that are held out."""
    for split in ("validation", "test"):
        is_held_out = not data.is_embedded and getattr(data, split) is None
        if is_held_out and not _is_column(data.columns.get(split, "")):
            raise UserError(
                f"data.columns.{split}: these rows are held out from the training rows and have "
                f"the same columns; set data.{split}, or remove this key"
            )


def _is_column(value: Any) -> bool:
    return not isinstance(value, Mapping)


def _check_column(
    key: str, name: str, column: str | list[str], task: Task, splits: tuple[str, ...]
) -> None:
    if name not in task.columns and name == task.paired_input:
        raise UserError(
            f"{key}: the template does not contain {{{name}}}; add it, or remove this key"
        )
    if name not in task.columns:
        hint = did_you_mean(name, [*task.columns, *splits])
        raise UserError(
            f"{key}: {task.name} has no such column; it has {', '.join(task.columns)}{hint}"
        )
    if not isinstance(column, str) and not (takes_several(task) and name == task.target):
        raise UserError(
            f"{key}: {task.name} reads {name} from one column, not from a list; name one"
        )


def takes_several(task: Task) -> bool:
    """Whether several columns can hold the references of a row."""
    return task.chat is None and task.output != "label" and task.output != "text"
