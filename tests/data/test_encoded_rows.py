"""Token counts of encoded rows."""

from llmkit.data.encoded_rows import count_tokens


def test_token_counts_leave_out_the_first_token():
    from datasets import Dataset, concatenate_datasets

    from llmkit.data.encode import FEATURES

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
