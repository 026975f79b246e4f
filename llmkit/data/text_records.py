"""Compact records of the rows that were prepared, as input of `EncodingReport`.

A document of plain language modelling has no prompt and is never truncated, so its record needs
only 30 bytes. Each shard has one memory-mapped Arrow file of records.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

OUTCOMES = ("whole", "empty", "invalid", "duplicate", "near duplicate")  # by code
END_OF_TEXT_TYPED, OVER_TOKENIZED = 1, 2  # flags
DIGITS = "0123456789"
NOT_NUMBERED = -1
SCHEMA = pa.schema(
    {
        # The location (file:line) is split into place and line; the line may be NOT_NUMBERED.
        "place": pa.dictionary(pa.int32(), pa.string()),
        "line": pa.int64(),
        "outcome": pa.uint8(),
        "tokens": pa.uint32(),  # number of tokens with end-of-text, whatever the outcome
        "flags": pa.uint8(),
        "note": pa.string(),  # error message of an invalid row
        "digest": pa.int64(),  # of the text; 0 if the row is left out
    }
)


def digest_of(text: str) -> int:
    """64-bit digest to find copies of a text."""
    code = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(code, "big", signed=True)


class RecordWriter:
    """Collects the records of a shard."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.place, self.line = array("i"), array("q")
        self.outcome, self.flags, self.tokens = array("B"), array("B"), array("I")
        self.digest = array("q")
        self.notes: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.outcome)

    def add(self, where: str, outcome: str, tokens: int = 0, flags: int = 0, digest: int = 0,
            note: str = "") -> None:  # fmt: skip
        place, line = split_location(where)
        if note:
            self.notes[len(self)] = note
        self.place.append(self.places.setdefault(place, len(self.places)))
        self.line.append(line)
        self.outcome.append(OUTCOMES.index(outcome))
        self.tokens.append(tokens)
        self.flags.append(flags)
        self.digest.append(digest)

    def to_bytes(self) -> bytes:
        """The content of the Arrow file."""
        notes = pa.nulls(len(self), pa.string())
        if self.notes:
            notes = pa.array([self.notes.get(i) for i in range(len(self))], pa.string())
        place = pa.DictionaryArray.from_arrays(
            pa.array(np.array(self.place, np.int32)), pa.array(list(self.places), pa.string())
        )
        columns = [
            place,
            *(pa.array(np.array(values, kind)) for values, kind in (
                (self.line, np.int64), (self.outcome, np.uint8), (self.tokens, np.uint32),
                (self.flags, np.uint8),
            )),
            notes,
            pa.array(np.array(self.digest, np.int64)),
        ]  # fmt: skip
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, SCHEMA) as file:
            file.write_batch(pa.record_batch(columns, schema=SCHEMA))
        return sink.getvalue().to_pybytes()


def split_location(where: str) -> tuple[str, int]:
    """Split a location into place and line: `rows.jsonl:17` into `rows.jsonl:` and 17."""
    place = where.rstrip(DIGITS)
    number = where[len(place) :]
    if not number or (number[0] == "0" and number != "0") or len(number) > 18:
        return where, NOT_NUMBERED
    return place, int(number)


class TextRecords:
    """The records of a split; see `llmkit.data.encoding_report.RowRecords`."""

    def __init__(self, paths: list[Path]) -> None:
        """Open the Arrow files of all shards, in order.

        Raises OSError or pyarrow.ArrowInvalid if a file is not an Arrow file.
        """
        self.paths = paths
        tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths]
        self.table = pa.concat_tables(tables).unify_dictionaries()

    @classmethod
    def join(cls, parts: "Sequence[TextRecords]") -> "TextRecords":
        """Concatenate the records of several parts."""
        return cls([path for part in parts for path in part.paths])

    def __len__(self) -> int:
        return self.table.num_rows

    def column(self, name: str) -> np.ndarray:
        """A column of `llmkit.data.row_records.RECORD`, (num_rows,)."""
        match name:
            case "completion_tokens":
                return self._values("tokens").astype(np.int64)
            case "supervised_tokens":
                return np.where(self.has_outcome("whole"), self.column("completion_tokens"), 0)
            case "digest":
                return self._values("digest")
            case "has_end_of_text":
                return (self._values("flags") & END_OF_TEXT_TYPED) > 0
            case "is_over_tokenized":
                return (self._values("flags") & OVER_TOKENIZED) > 0
            case "has_empty_input":
                return np.zeros(len(self), bool)
        # A document has no prompt; its source is the text itself, which `digest` covers.
        return np.zeros(len(self), np.int64)

    def _values(self, name: str) -> np.ndarray:
        return self.table.column(name).to_numpy()

    def has_outcome(self, outcome: str) -> np.ndarray:
        """Whether each row has the outcome, (num_rows,)."""
        return self._values("outcome") == OUTCOMES.index(outcome)

    def count_outcomes(self) -> Counter[str]:
        counts = np.bincount(self._values("outcome"), minlength=len(OUTCOMES)).tolist()
        return Counter({name: n for name, n in zip(OUTCOMES, counts, strict=True) if n})

    def notes(self) -> dict[int, str]:
        """Notes by row index."""
        column = self.table.column("note")
        indices = np.flatnonzero(pc.is_valid(column).to_numpy())
        return dict(zip(indices.tolist(), column.take(indices).to_pylist(), strict=True))

    def locations_at(self, indices: np.ndarray) -> list[str]:
        """Locations (file:line) of rows."""
        rows = self.table.select(["place", "line"]).take(pa.array(indices, pa.int64()))
        places, lines = (rows.column(name).to_pylist() for name in ("place", "line"))
        return [
            place if line == NOT_NUMBERED else f"{place}{line}"
            for place, line in zip(places, lines, strict=True)
        ]
