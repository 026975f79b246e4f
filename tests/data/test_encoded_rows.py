"""Encoded rows: their token counts, and reading them without a copy."""

from datasets import Dataset, concatenate_datasets

from llmkit.data.encode import FEATURES
from llmkit.data.encoded_rows import EncodedRows, count_tokens


def test_token_counts_leave_out_the_first_token():
    def num_supervised(labels):
        return sum(label != -100 for label in labels[1:])

    encoded = Dataset.from_dict(
        {
            "input_ids": [[1, 2, 3], [4, 5]],
            "labels": [[1, -100, 3], [4, -100]],
            "where": ["a", "b"],
        },
        features=FEATURES,
    )
    for rows in (encoded, concatenate_datasets([encoded, encoded]), encoded.select(range(1, 2))):
        lengths, supervised = count_tokens(rows)
        assert lengths.tolist() == [len(row["labels"]) for row in rows]
        assert supervised.tolist() == [num_supervised(row["labels"]) for row in rows]


def test_rows_are_read_from_several_chunks_and_from_a_part_of_a_dataset():
    rows = [{"input_ids": list(range(n)), "labels": [-100] * n} for n in (3, 1, 4, 2, 5)]
    parts = [Dataset.from_list(rows[:2]), Dataset.from_list(rows[2:])]
    encoded = concatenate_datasets(parts).select(range(1, 5))
    reader = EncodedRows(encoded)
    assert len(reader) == 4
    for index, row in enumerate(rows[1:]):
        read = reader[index]
        assert {name: values.tolist() for name, values in read.items()} == row
