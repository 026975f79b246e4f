"""Rows of Arrow's formats: parquet, arrow and feather files, and the folders that `save_to_disk` of
`datasets` writes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmkit.errors import UserError, shown
from llmkit.tables import check_names
from llmkit.textlines import Raw

BATCH_ROWS = 1000
LARGEST_RECORD = 2**22  # bytes of state.json and dataset_dict.json


def read_parquet(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    """encoding: of no use here, where texts are UTF-8."""
    return _rows(path, "parquet")


def read_arrow(path: Path, encoding: str | None = None) -> Iterator[Raw]:
    """An .arrow file, as a file or as a stream, or .feather. encoding: of no use here."""
    return _rows(path, "Arrow")


def _rows(path: Path, kind: str) -> Iterator[Raw]:
    import pyarrow

    number = 0
    try:
        schema, batches = (_open_parquet if kind == "parquet" else _open_arrow)(path)
        check_names(schema.names, str(path))
        classes = _class_names(schema)
        for batch in batches:
            where = f"{path}: row {number} or soon after"
            columns = {
                name: _named(values, classes[name]) if name in classes else values
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
    if start.startswith(b"FEA1"):  # Feather's first version, which cannot be read in parts
        table = feather.read_table(path)
        return table.schema, iter(table.to_batches(BATCH_ROWS))
    reader = ipc.open_stream(file)
    return reader.schema, _small(reader)


def _small(batches: Iterator[Any]) -> Iterator[Any]:
    """The rows in batches that fit into memory as Python's values."""
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """By column the names of the classes that `datasets` keeps as numbers."""
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


def _named(values: list[Any], names: list[str]) -> list[Any]:
    """Numbers of classes as their names; None for one that is hidden (-1)."""
    return [
        names[value] if isinstance(value, int) and 0 <= value < len(names) else None
        for value in values
    ]


def saved_splits(folder: Path) -> list[str]:
    """The splits of a folder that `DatasetDict.save_to_disk` wrote; none for another folder."""
    path = folder / "dataset_dict.json"
    if not os.path.isfile(path):  # path.is_file() raises where a name is too long
        return []
    splits = _read_record(path).get("splits")
    if not isinstance(splits, list) or not all(map(_is_plain, splits)):
        raise UserError(f"{path}: its splits lead out of the folder; save the data again")
    return splits


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote the folder."""
    return (folder / "state.json").is_file()


def saved_files(folder: Path) -> list[Path]:
    """The files of rows, in their order, of a folder that `Dataset.save_to_disk` wrote.

    Raises UserError where its record names what does not lie in the folder.
    """
    path = folder / "state.json"
    record = _read_record(path)
    if record.get("_indices_data_files") or record.get("_indices_files"):
        raise UserError(
            f"{path}: its rows are chosen by a file of indices, as old versions of datasets wrote "
            "it; load and save it again"
        )
    entries = record.get("_data_files")
    names = [of.get("filename") for of in entries if isinstance(of, dict)] if entries else []
    if not isinstance(entries, list) or len(names) != len(entries):
        raise UserError(f"{path}: it names no files of rows; save the data again")
    for name in names:
        if not _is_plain(name):
            raise UserError(f"{path}: {shown(str(name), 60)} leads out of the folder; save again")
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file; copy or save the folder again")
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder / name}: a link out of the folder; save the data again")
    return [folder / name for name in names]


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def _read_record(path: Path) -> dict[str, Any]:
    """A JSON object that `datasets` keeps beside rows."""
    try:
        if path.stat().st_size <= LARGEST_RECORD:
            record = json.loads(path.read_text("utf-8"))
            if isinstance(record, dict):
                return record
    except (OSError, ValueError, RecursionError):
        pass
    raise UserError(f"{path}: not the record that datasets writes; save the data again")


def _to_lists(batch: Any, where: str) -> Iterator[tuple[str, list[Any]]]:
    """Name and values of each column of a record batch."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            yield name, column.to_pylist()
        except (ValueError, ArithmeticError, LookupError) as error:  # bad UTF-8, the year 300,000
            raise UserError(
                f"{where}: column {shown(name)} cannot be read ({_reason(error)}); mend it, or "
                "leave the column out"
            ) from None


def _reason(error: Exception) -> str:
    return shown(" ".join(str(error).split()))
