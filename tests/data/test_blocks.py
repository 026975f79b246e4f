"""Texts of plain language modelling: every token is supervised once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.encode import (
    EncodingOptions,
    encode_rows,
    encode_text,
)
from llmkit.tasks import get_task, is_blank


@given(
    texts=st.lists(st.text(max_size=80), min_size=1, max_size=12),
    max_length=st.integers(2, 40),
    packing=st.booleans(),
)
@settings(max_examples=200)
def test_every_token_of_a_text_is_supervised_once(tokenizer, texts, max_length, packing):
    task = get_task("pretrain")
    rows = [{"id": str(i), "text": text} for i, text in enumerate([*texts, "x"])]
    options = EncodingOptions(max_length, packing=packing)
    dataset, encoding_report = encode_rows(rows, task, tokenizer, options)
    encoded = dataset.to_list()
    kept = [row["text"] for row in rows if not is_blank(row["text"])]
    expected = [
        token
        for ids in encode_text([f" {t}"[1:] for t in kept], tokenizer)
        for token in [*ids, tokenizer.eos_token_id]
    ]
    learnt = [token for row in encoded for token in row["labels"][1:]]
    assert learnt == expected
    assert all(len(row["input_ids"]) <= max_length for row in encoded)
    assert encoding_report.num_rows == len(rows)
    assert encoding_report.tokens["supervised"] == len(expected)
    dropped = encode_text([row["text"] for row in rows if is_blank(row["text"])], tokenizer)
    assert encoding_report.tokens["left out"] == sum(len(ids) + 1 for ids in dropped)
    if packing:
        starts = [row for row in encoded if row["input_ids"][0] == tokenizer.eos_token_id]
        assert len(starts) >= len(kept), "each text begins behind an end-of-text of its own"
