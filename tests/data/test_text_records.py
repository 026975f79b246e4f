"""Compact records of documents, which give the same report as other records."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.encoding_report import EncodingReport
from llmkit.data.text_records import RecordWriter, TextRecords, split_location


@given(where=st.one_of(st.text(max_size=12), st.from_regex(r"\A[a-z/]{0,5}:?[0-9]{0,20}\Z")))
@settings(max_examples=50)
def test_a_location_is_split_into_place_and_line(where):
    place, line = split_location(where)
    assert where == (place if line < 0 else f"{place}{line}")
    assert line < 2**63


def test_the_shards_of_a_split_give_one_report(tmp_path):
    paths = []
    for shard, places in enumerate([("a.jsonl:1", "a.jsonl:2"), ("b.txt: row 0", "b.txt:page")]):
        writer = RecordWriter()
        writer.add(places[0], "whole", 7, flags=1, digest=-5 - shard)
        writer.add(places[1], "empty", 1, flags=2)
        writer.add(f"c.jsonl:{shard}", "invalid", note=f"c.jsonl:{shard}: broken")
        paths.append(tmp_path / f"{shard}.arrow")
        paths[-1].write_bytes(writer.to_bytes())
    report = EncodingReport(TextRecords(paths))
    assert report.outcomes == {"whole": 2, "empty": 2, "invalid": 2}
    assert report.tokens == {"supervised": 14, "prompt": 0, "truncated": 0, "left out": 2}
    assert report.rows_by_problem == {
        "empty": ["a.jsonl:2", "b.txt:page"],
        "invalid": ["c.jsonl:0: broken", "c.jsonl:1: broken"],
        "end-of-text typed": ["a.jsonl:1", "b.txt: row 0"],
        "over-tokenized": ["a.jsonl:2", "b.txt:page"],
    }
    assert report.column("digest").tolist() == [-5, 0, 0, -6, 0, 0]
    assert report.locations_at(np.array([5, 0])) == ["c.jsonl:1", "a.jsonl:1"]


@pytest.mark.parametrize("with_notes", [False, True])
def test_a_record_takes_30_bytes(with_notes):
    writer = RecordWriter()
    for line in range(10_000):
        writer.add(f"corpus.jsonl:{line}", "whole", 1000, digest=line)
    if with_notes:
        writer.add("corpus.jsonl:10000", "invalid", note="corpus.jsonl:10000: broken JSON")
    assert len(writer.to_bytes()) < (40 if with_notes else 32) * 10_000


def test_a_split_may_have_no_rows(tmp_path):
    (tmp_path / "a.arrow").write_bytes(RecordWriter().to_bytes())
    report = EncodingReport(TextRecords([tmp_path / "a.arrow"]))
    assert report.num_rows == 0
    assert report.rows_by_problem == {}
