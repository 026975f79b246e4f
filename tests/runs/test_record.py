"""The record of a run travels through JSON."""

import json
from dataclasses import asdict

from llmkit.runs.record import ModelRecord, SplitRecord


def test_records_are_plain_data():
    model = ModelRecord("gpt2", "0" * 64, "c" * 40)
    split = SplitRecord("rows.jsonl", 3, "1" * 64)
    assert ModelRecord(**json.loads(json.dumps(asdict(model)))) == model
    assert SplitRecord(**json.loads(json.dumps(asdict(split)))) == split
