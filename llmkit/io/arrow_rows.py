"""Rows of parquet, arrow and feather files, and of folders that `datasets` wrote with
`save_to_disk`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmkit.errors import UserError, printable
from llmkit.io.delimited import check_names
from llmkit.io.small_json import UnreadableJson, read_json
from llmkit.io.text_lines import Raw

BATCH_ROWS = 1000  # rows that are Python objects at the same time


def read_parquet(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    """Rows of a parquet file. encoding: ignored; its texts are UTF-8."""
    return _rows(path, "parquet")


def read_arrow(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    """Rows of an .arrow file (file or stream format) or a .feather file. encoding: ignored."""
    return _rows(path, "Arrow")


def count_rows(path: Path) -> int | None:
    """Number of rows of a parquet file; None for any other file, or one that cannot be read."""
    if path.suffix.lower() != ".parquet":
        return None
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_metadata(path).num_rows
    except (pyarrow.ArrowException, OSError):
        return None


def _rows(path: Path, kind: str) -> Iterator[Raw]:
    import pyarrow

    number = 0
    try:
        schema, batches = (_open_parquet if kind == "parquet" else _open_arrow)(path)
        check_names(schema.names, str(path))
        classes = _class_names(schema)
        for batch in batches:
            where = f"{path}: in or after row {number}"
            columns = {
                name: _to_class_names(values, classes[name]) if name in classes else values
                for name, values in _to_lists(batch, where)
            }
            for index in range(batch.num_rows):
                row = {name: values[index] for name, values in columns.items()}
                yield f"{path}: row {number}", row
                number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not a readable {kind} file ({_reason(error)}); write it again"
        ) from None


def _open_parquet(path: Path) -> tuple[Any, Iterator[Any]]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    return file.schema_arrow, file.iter_batches(batch_size=BATCH_ROWS)


def _open_arrow(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow
    from pyarrow import feather, ipc

    file = pyarrow.memory_map(str(path))
    start = file.read(6)
    file.seek(0)
    if start == b"ARROW1":
        reader = ipc.open_file(file)
        batches = map(reader.get_batch, range(reader.num_record_batches))
        return reader.schema, _small(batches)
    if start.startswith(b"FEA1"):  # version 1 of Feather, which cannot be read in parts
        table = feather.read_table(path)
        return table.schema, iter(table.to_batches(BATCH_ROWS))
    reader = ipc.open_stream(file)
    return reader.schema, _small(reader)


def _small(batches: Iterator[Any]) -> Iterator[Any]:
    """The batches, split into batches of at most BATCH_ROWS rows."""
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The class names of each column that `datasets` stores as class numbers."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        found = {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}
    return {
        column: names
        for column, names in found.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


def _to_class_names(values: list[Any], names: list[str]) -> list[Any]:
    """The name of each class number; None for an unknown class (-1)."""
    return [
        names[value] if isinstance(value, int) and 0 <= value < len(names) else None
        for value in values
    ]


def saved_splits(folder: Path) -> list[str]:
    """The splits in a folder that `DatasetDict.save_to_disk` wrote; empty for any other folder."""
    path = folder / "dataset_dict.json"
    if not os.path.isfile(path):  # path.is_file() raises where a name is too long
        return []
    splits = _read_record(path).get("splits")
    if not isinstance(splits, list) or not all(map(_is_plain, splits)):
        raise UserError(f"{path}: a split's name points outside the folder; save the data again")
    return splits


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote the folder."""
    return (folder / "state.json").is_file()


def saved_files(folder: Path) -> list[Path]:
    """The files of rows, in order, in a folder that `Dataset.save_to_disk` wrote.

    Raises UserError if state.json names a file that is not in the folder.
    """
    path = folder / "state.json"
    record = _read_record(path)
    if record.get("_indices_data_files") or record.get("_indices_files"):
        raise UserError(
            f"{path}: the rows are selected by an index file, as old versions of datasets wrote; "
            "load the data with datasets and save it again"
        )
    entries = record.get("_data_files")
    names = [of.get("filename") for of in entries if isinstance(of, dict)] if entries else []
    if not isinstance(entries, list) or len(names) != len(entries):
        raise UserError(f"{path}: names no data files; save the data again")
    for name in names:
        if not _is_plain(name):
            raise UserError(
                f"{path}: {printable(str(name), 60)} points outside the folder; save the data again"
            )
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file; copy or save the folder again")
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"{folder / name}: a link that points outside the folder; save the data again"
            )
    return [folder / name for name in names]


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def _read_record(path: Path) -> dict[str, Any]:
    """A JSON object that `datasets` stores next to the rows."""
    try:
        return read_json(path)
    except UnreadableJson:
        raise UserError(
            f"{path}: not a JSON object as datasets writes it; save the data again"
        ) from None


def _to_lists(batch: Any, where: str) -> Iterator[tuple[str, list[Any]]]:
    """Name and values of each column of a record batch."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            yield name, column.to_pylist()
        except (ValueError, ArithmeticError, LookupError) as error:  # bad UTF-8, the year 300,000
            raise UserError(
                f"{where}: column {printable(name)} cannot be read ({_reason(error)}); fix it, or "
                "drop the column"
            ) from None


def _reason(error: Exception) -> str:
    return printable(" ".join(str(error).split()))
