"""Parquet, arrow and feather files, and folders that `datasets` saved."""

import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from written_files import CLASSIFY, LABELED, all_rows

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.io.row_files import find, read


def dataset():
    features = {
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["negative", "positive"]),
    }
    columns = {"text": ["Bad.", "Good."] * 3, "label": [0, 1] * 3}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_class_numbers_of_datasets_are_read_as_names(tmp_path):
    """In files, in saved folders, of which all splits are used, and in a split of theirs."""
    found = dataset()
    found.to_parquet(tmp_path / "rows.parquet")
    assert all_rows(tmp_path / "rows.parquet", CLASSIFY) == LABELED
    found.save_to_disk(tmp_path / "saved", num_shards=2)
    assert all_rows(tmp_path / "saved", CLASSIFY) == LABELED
    arrow = sorted((tmp_path / "saved").glob("*.arrow"))
    assert all_rows(arrow[0], CLASSIFY) == LABELED[:3]
    parts = {"train": found, "dev": found.select([0]), "test": found.select([1, 2])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "splits")
    splits = open_splits(Data(train=str(tmp_path / "splits")), CLASSIFY)
    assert {name: len(list(rows)) for name, rows in splits.items()} == {
        "train": 6, "validation": 1, "test": 2,
    }  # fmt: skip
    assert all_rows(tmp_path / "splits" / "test", CLASSIFY) == [LABELED[1], LABELED[0]]


def test_an_unknown_class_number_is_a_missing_label(tmp_path):
    dataset().to_parquet(tmp_path / "rows.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    hidden = table.set_column(1, table.schema.field(1), pyarrow.array([-1, 1, 7] * 2))
    pyarrow.parquet.write_table(hidden, tmp_path / "rows.parquet")
    labels = [row["label"] for _, row in read(tmp_path / "rows.parquet")]
    assert labels == [None, "positive", None] * 2


def state(**content):
    return lambda folder: (folder / "state.json").write_text(json.dumps(content))


def link(folder):
    file = next(folder.glob("*.arrow"))
    file.rename(folder.parent / "elsewhere.arrow")
    file.symlink_to(folder.parent / "elsewhere.arrow")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (state(_data_files=[{"filename": "../secret.arrow"}]), "points outside the folder"),
        (state(_data_files=[{"filename": "/etc/passwd"}]), "points outside the folder"),
        (state(_data_files=[{"filename": ".."}]), "points outside the folder"),
        (state(_data_files=[{"filename": 7}]), "points outside the folder"),
        (state(_data_files=[{"filename": "gone.arrow"}]), "no such file"),
        (state(_data_files="all"), "names no data files"),
        (state(_data_files=None), "names no data files"),
        (state(_data_files=[], _indices_data_files=[{"filename": "i.arrow"}]), "an index file"),
        (link, "a link that points outside the folder"),
        (lambda folder: (folder / "state.json").write_text("["), "not a JSON object"),
        (lambda folder: (folder / "state.json").write_text("[" * 10**5), "not a JSON object"),
        (lambda folder: (folder / "state.json").write_text(" " * 2**23), "not a JSON object"),
    ],
)
def test_a_saved_folder_that_points_elsewhere_is_refused(tmp_path, spoil, said):
    dataset().save_to_disk(tmp_path / "saved")
    spoil(tmp_path / "saved")
    with pytest.raises(UserError, match=said):
        find(str(tmp_path / "saved"), "data.train")


def test_splits_of_a_saved_folder_that_point_elsewhere_are_refused(tmp_path):
    dataset().save_to_disk(tmp_path / "outside")
    folder = tmp_path / "saved"
    folder.mkdir()
    for splits, said in (
        (["../outside"], "name points outside the folder"),
        (["train"], "a link that points outside"),
        (7, "name points outside the folder"),
    ):
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        if splits == ["train"]:
            (folder / "train").symlink_to(tmp_path / "outside")
        with pytest.raises(UserError, match=said):
            open_splits(Data(train=str(folder)), CLASSIFY)
