"""Writing rows with values of any type to parquet, in constant memory."""

import base64
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from llmkit.io.row_lines import OutputRow, json_line

ROWS_PER_GROUP = 4096
ARROW = "__arrow__"  # JSON key for a value that JSON lacks, such as a date, in Arrow's format


def typed_line(row: OutputRow) -> str:
    """The row as a line of JSON from which `read_typed_line` restores all types of Arrow, such as
    dates and bytes, as well as NaN and infinity. Values of other types become strings."""
    return json.dumps(row, ensure_ascii=False, default=_to_arrow)


def read_typed_line(line: bytes) -> OutputRow:
    return json.loads(line, object_hook=_from_arrow)


def _to_arrow(value: Any) -> Any:
    import pyarrow

    try:
        array = pyarrow.array([value])
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        return str(value)
    batch = pyarrow.record_batch([array], names=["value"])
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return {ARROW: base64.b64encode(sink.getvalue()).decode()}


def _from_arrow(content: dict[str, Any]) -> Any:
    import pyarrow

    if content.keys() != {ARROW}:
        return content
    try:
        table = pyarrow.ipc.open_stream(base64.b64decode(content[ARROW])).read_all()
        return table["value"][0].as_py()
    except (pyarrow.ArrowException, LookupError, OSError, TypeError, ValueError):
        return content  # an input value that happens to use the key


def write_parquet(
    path: Path, read_rows: Callable[[], Iterator[OutputRow]], columns: list[str]
) -> None:
    """Write a parquet file, one group of rows at a time.

    The type of a column is the common type of all of its values. If there is none, the column
    contains strings, and values of other types are written as JSON.

    Args:
        read_rows: Returns an iterator over all rows; called more than once.
        columns: Names of all columns in order; a row may lack some.
    """
    types = _common_types(read_rows(), columns)
    while not _try_to_write(path, read_rows(), types):
        pass


def _common_types(rows: Iterator[OutputRow], columns: list[str]) -> dict[str, Any]:
    """The common type of the values of each column; string if there is none."""
    import pyarrow

    types = dict.fromkeys(columns, pyarrow.null())
    has_common_type = dict.fromkeys(columns, True)
    for group in _groups(rows):
        for name in filter(has_common_type.get, columns):
            try:
                found = pyarrow.array(_values(group, name)).type
                types[name] = _unify(types[name], found)
            except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
                types[name], has_common_type[name] = pyarrow.string(), False
    return types


def _unify(first: Any, second: Any) -> Any:
    import pyarrow

    schemas = [pyarrow.schema([("value", each)]) for each in (first, second)]
    unified = pyarrow.unify_schemas(schemas, promote_options="permissive")
    return unified.field("value").type


def _try_to_write(path: Path, rows: Iterator[OutputRow], types: dict[str, Any]) -> bool:
    """Write all rows. If a value does not fit the type of its column, change the type to string and
    return False."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(list(types.items()))
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(rows):
            arrays = []
            for name, type_ in types.items():
                try:
                    arrays.append(_to_array(_values(group, name), type_))
                except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
                    types[name] = pyarrow.string()
                    return False
            writer.write_table(pyarrow.table(arrays, schema=schema))
    return True


def _groups(rows: Iterator[OutputRow]) -> Iterator[list[OutputRow]]:
    while group := list(islice(rows, ROWS_PER_GROUP)):
        yield group


def _values(rows: list[OutputRow], name: str) -> list[Any]:
    """The values of a column; NaN becomes null."""
    values = (row.get(name) for row in rows)
    return [None if value != value else value for value in values]


def _to_array(values: list[Any], type_: Any) -> Any:
    import pyarrow

    if type_ == pyarrow.string():
        values = [v if v is None or isinstance(v, str) else json_line(v) for v in values]
    return pyarrow.array(values, type_)
