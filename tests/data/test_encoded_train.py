"""Several sets of training rows as one."""

import pytest
from datasets import Dataset
from rows import summary_rows

from llmkit.data.encode import EncodingOptions, encode_rows
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.encoded_train import TRAIN_SET, EncodedTrain, mix
from llmkit.tasks import get_task


def encoded(tokenizer, rows) -> EncodedTrain:
    named = [{**row, "where": f"{row['id']}.jsonl:1"} for row in rows]
    dataset, report = encode_rows(named, get_task("summarize"), tokenizer, EncodingOptions(100))
    assert isinstance(dataset, Dataset)
    return EncodedTrain(EncodedRows(dataset), report, was_cached=True)


def test_a_set_alone_is_recorded_as_train(tokenizer):
    alone = encoded(tokenizer, summary_rows(3))
    assert alone.sets == {"train": alone}


def test_reports_of_mixed_sets_add_up(tokenizer):
    own, other = encoded(tokenizer, summary_rows(5)), encoded(tokenizer, summary_rows(8)[4:])
    mixed = mix({TRAIN_SET: own, "other": other}, {"other": 0.25})
    assert list(mixed.sets) == ["train", "mix.other"]
    assert mixed.sets["mix.other"] is other
    assert mixed.was_cached
    assert len(mixed.encoded) == 9
    assert mixed.report.num_rows == 9
    assert mixed.report.tokens["supervised"] == sum(
        part.report.tokens["supervised"] for part in (own, other)
    )
    assert mixed.report.locations_at([0, 5]) == ["r0.jsonl:1", "r4.jsonl:1"]
    assert mixed.encoded.shares == pytest.approx({"train": 0.75, "other": 0.25})
