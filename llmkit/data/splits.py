"""The splits of a recipe's data: train, validation, test, and further test sets."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from llmkit.config.data_section import EMBEDDED
from llmkit.config.schema import Data, Evaluation
from llmkit.data.column_mapping import check_columns, check_held_out_columns, columns_of
from llmkit.data.columns import MissingColumn, shape_of
from llmkit.data.held_out import Assignment, by_end, by_hash
from llmkit.data.prepared_text import HeldOutText, PreparedSource, has_prepared_text
from llmkit.data.rows import MixedIn, Rows, in_section, with_skip_advice
from llmkit.data.sources import DocumentPart, open_source
from llmkit.errors import UserError
from llmkit.io import row_files
from llmkit.paths import PACKAGE, expand, row_format
from llmkit.tasks import Row, Task, get_task

SPLITS = ("train", "validation", "test")
MAX_SEARCHED = 1000  # rows at the start of a split that are searched for a readable one
EMBEDDED_ROWS = PACKAGE / "embedded" / "rows"


def open_splits(
    data: Data,
    task: Task,
    evaluation: Evaluation | None = None,
    *,
    skips_unreadable: bool = False,
) -> dict[str, Rows]:
    """Open the splits of a recipe by name: train, validation, test, and those of `data.tests`.

    Args:
        data: The `data` section of the recipe.
        task: The task.
        evaluation: The `evaluation` section, which limits the rows and names the columns to group
            by; None: all rows, no groups.
        skips_unreadable: Skip rows that cannot be read, regardless of `data.skip_invalid`.

    Raises:
        UserError: A split is empty, or its first row cannot be read.
    """
    evaluation = evaluation or Evaluation()
    data = _with_saved_splits(data)
    check_columns(data, task)
    check_held_out_columns(data)
    mixed = {name: _open_mixed(data, name, task, skips_unreadable) for name in data.mix}
    splits = _open_named_and_held_out(data, task)
    for name, file in data.tests.items():
        splits[name] = _open_rows(file, data, task, name, f"data.tests.{name}", stored_as="test")
    for split, rows in splits.items():
        is_test = split == "test" or split in data.tests
        splits[split] = rows = replace(
            rows,
            by=tuple(evaluation.by) if is_test else (),
            skips_unreadable=skips_unreadable or data.skip_invalid,
        )
        _require_rows(rows, f"data.{split}" if split in SPLITS else f"data.tests.{split}")
    splits["train"] = replace(splits["train"], mixed=mixed)
    return {
        split: replace(rows, first=evaluation.limits.get("test" if split in data.tests else split))
        for split, rows in splits.items()
    }


def held_out_rows(splits: dict[str, Rows]) -> list[Rows]:
    """The splits other than train, with all rows, including those that are not scored."""
    return [replace(rows, first=None) for split, rows in splits.items() if split != "train"]


def _open_mixed(data: Data, name: str, task: Task, skips_unreadable: bool) -> MixedIn:
    """Open a set of `data.mix`; all of its rows are training rows."""
    key, section = f"data.mix.{name}", data.of_mixed_set(name)
    try:
        check_columns(section, task)
        rows = _open_rows(section.train, section, task, "train", f"{key}.train")
        skips_unreadable = skips_unreadable or data.skip_invalid
        rows = replace(rows, section=key, skips_unreadable=skips_unreadable)
        _require_rows(rows, f"{key}.train")
    except UserError as error:
        raise in_section(error, key) from None
    return MixedIn(rows, data.mix[name].share)


def _require_rows(rows: Rows, key: str) -> None:
    """Raise UserError if the split is empty, or if its first row cannot be read.

    key: Recipe key that names the rows.
    """
    errors = []
    for row in replace(rows, skips_unreadable=False).read_all():
        if not isinstance(row, UserError):
            break
        errors.append(row)
        if not rows.skips_unreadable and len(errors) == MAX_SEARCHED:
            raise _first_error(errors[0], rows)
    else:
        if errors:
            raise _first_error(errors[0], rows)
        raise UserError(f"{rows.source.name}: the {rows.split} split has no rows; check {key}")
    if errors and not rows.skips_unreadable:
        raise with_skip_advice(errors[0])


def _first_error(error: UserError, rows: Rows) -> UserError:
    """The error of the first row of a split, with the key of the split for a missing column."""
    if rows.split == "train" or rows.held_out or not isinstance(error, MissingColumn):
        return error
    return error.of_split(rows.split, rows.task)


def _open_named_and_held_out(data: Data, task: Task) -> dict[str, Rows]:
    """Open train, validation and test."""
    if data.is_embedded:
        names = {split: getattr(data, split) or EMBEDDED for split in SPLITS}
        return {
            split: _open_rows(name, data, task, split, f"data.{split}")
            for split, name in names.items()
        }
    shares = {"validation": data.validation_fraction, "test": data.test_fraction}
    shares = {split: share for split, share in shares.items() if getattr(data, split) is None}
    splits = {
        split: _open_rows(getattr(data, split), data, task, split, f"data.{split}")
        for split in SPLITS
        if split not in shares
    }
    if shares:
        splits |= _hold_out(splits["train"], shares, data)
    return {split: splits[split] for split in SPLITS}


def _open_rows(
    name: str, data: Data, task: Task, split: str, given_by: str, stored_as: str | None = None
) -> Rows:
    """Open the rows that a recipe names for a split, with the shape of the first row that has one.

    stored_as: Split to read from a folder that contains several; default: the same name.
    """
    if name == EMBEDDED and data.hub is None:
        name = str(EMBEDDED_ROWS / task.name / f"{stored_as or split}.jsonl")
        if data.names_others:  # whose columns and encoding these are
            data = data.model_copy(update={"columns": {}, "encoding": None})
    source = open_source(name, data, stored_as or split, given_by)
    columns = columns_of(data, split)
    if isinstance(source, PreparedSource | HeldOutText):
        if data.limit is not None:
            raise UserError(
                f"data.limit: {source.name} is prepared text, to which no limit can be applied; "
                "set data.limit=null, or prepare the text again with the limit"
            )
        columns = {}
    rows = Rows(split, source, task, columns, data.limit)
    if not task.accepted_shapes:
        return rows
    first = (raw for _, raw in islice(source.read(), MAX_SEARCHED) if isinstance(raw, dict))
    shapes = (shape_of(raw, task, columns) for raw in first)
    return replace(rows, shape=next(filter(None, shapes), None))


def _hold_out(train: Rows, shares: dict[str, float], data: Data) -> dict[str, Rows]:
    """Split train into the remaining training rows and the held-out splits."""
    name = train.source.name
    is_text = row_format(expand(name)) == ".txt"
    if data.held_out == "hash":
        assignment = _assign_by_hash(train, shares, data, is_text)
    elif is_text and data.rows == "document" and len(list(islice(train.source.read(), 2))) == 1:
        return {
            split: replace(train, split=split, source=DocumentPart(train.source, split, shares))
            for split in ("train", *shares)
        }
    else:
        assignment = by_end(train.read_all, train.task, shares, name)
    return {
        split: replace(train, split=split, assignment=assignment) for split in ("train", *shares)
    }


def _assign_by_hash(train: Rows, shares: dict[str, float], data: Data, is_text: bool) -> Assignment:
    advice = ""
    if is_text and data.rows != "line":  # another way to read the file gives more rows
        advice = (
            "; if each line is a text, set data.rows=line; for one long text, set "
            "data.rows=document and data.held_out=end"
            if data.rows == "paragraph"
            else "; data.held_out=end holds out the end of one long text"
        )
    errors = []

    def readable() -> Iterator[Row]:
        for row in train.read_all():
            if isinstance(row, UserError):
                errors.append(row)
            else:
                yield row

    try:
        return by_hash(readable(), train.task, shares, train.source.name, advice)
    except UserError:
        if errors and not data.skip_invalid:
            raise with_skip_advice(errors[0]) from None
        raise


def _with_saved_splits(data: Data) -> Data:
    """The section, with validation and test from the folder of `data.train` if it contains them.
    Prepared text must contain them, since no document can be held out from its shards."""
    if data.hub is not None or data.is_embedded:
        return data
    folder, names = expand(data.train), {"validation", "test"}
    if not has_prepared_text(folder):
        saved = row_files.saved_splits(folder)
        names = {split for split in names if row_files.pick_split(split, saved)}
    found = {name: data.train for name in names if getattr(data, name) is None}
    return data.model_copy(update=found)


def open_general_text(name: str) -> Rows:
    """Open the texts that show what a model has forgotten: a file, or the embedded texts."""
    if name == EMBEDDED:
        name = str(EMBEDDED_ROWS / "pretrain" / "test.jsonl")
    source = open_source(name, Data(), "test", "evaluation.general_text")
    return Rows("test", source, get_task("pretrain"), {}, limit=None)
