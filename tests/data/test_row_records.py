"""Records of rows: one for each row read, whatever became of it."""

import pyarrow as pa
import pytest

from llmkit.data.encoding_report import INVALID
from llmkit.data.row_records import (
    RECORD,
    invalid_row_record,
    is_over_tokenized,
    removed_row_record,
)
from llmkit.errors import UserError


def test_rows_that_are_left_out_before_encoding_have_a_record_without_tokens():
    records = [
        removed_row_record("rows.jsonl:3", "duplicate"),
        invalid_row_record(UserError("rows.jsonl:4: no column text: add it")),
    ]
    table = pa.Table.from_pylist(records, schema=RECORD.arrow_schema)
    assert table.column("where").to_pylist() == ["rows.jsonl:3", "rows.jsonl:4"]
    assert table.column("outcome").to_pylist() == ["duplicate", INVALID]
    assert table.column("note").to_pylist() == ["", "rows.jsonl:4: no column text: add it"]
    for name in ("prompt_tokens", "completion_tokens", "supervised_tokens", "digest"):
        assert table.column(name).to_pylist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "num_ids", "expected"),
    [("a" * 20, 17, True), ("a" * 20, 16, False), ("a" * 19, 19, False)],
)
def test_only_long_texts_can_have_too_many_tokens(text, num_ids, expected):
    assert is_over_tokenized(text, [0] * num_ids) == expected
