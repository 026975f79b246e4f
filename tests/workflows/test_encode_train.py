"""Sets of training rows: each is encoded on its own, and then mixed."""

import random

import pytest
from checked_rows import sentence
from rich.console import Console
from rows import write_jsonl

from llmkit.config.schema import Data
from llmkit.data.mixed_rows import MixedRows, drawn_sets
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.model.load import load_model
from llmkit.tasks import get_task
from llmkit.workflows.encode_train import encode_train

PRETRAIN = get_task("pretrain")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    return load_model(tiny_gpt2)[1]


@pytest.fixture
def texts(tmp_path):
    """Files of 60, 20 and 5 texts, the column of the second named otherwise."""
    rng = random.Random(0)

    def write(name, count, column):
        rows = [{column: sentence(rng, 30)} for _ in range(count)]
        return str(write_jsonl(tmp_path / f"{name}.jsonl", rows))

    files = {"web": (60, "text"), "books": (20, "body"), "poems": (5, "text")}
    return {name: write(name, *of_file) for name, of_file in files.items()}


def data_of(texts, packing=False, **shares):
    books = {"train": texts["books"], "columns": {"text": "body"}, "share": shares["books"]}
    poems = {"train": texts["poems"], "share": shares["poems"], "limit": 3}
    mix = {"books": books, "poems": poems}
    return Data(train=texts["web"], mix=mix, max_length=32, packing=packing)


def encode(data, tokenizer):
    splits = open_splits(data, PRETRAIN)
    return encode_train(splits, tokenizer, data, Console(quiet=True))[0]


@pytest.mark.parametrize("packing", [False, True])
def test_a_change_of_the_shares_encodes_nothing_again(texts, tokenizer, cache, packing):
    first = encode(data_of(texts, packing, books=0.3, poems=0.1), tokenizer)
    assert not first.was_cached
    (folder,) = (path for path in cache.iterdir() if path.name in ("encoded", "shards"))
    assert len(list(folder.iterdir())) == 3
    second = encode(data_of(texts, packing, books=0.1, poems=0.5), tokenizer)
    assert second.was_cached
    assert len(list(folder.iterdir())) == 3
    assert second.encoded.fingerprint() == first.encoded.fingerprint()
    assert isinstance(first.encoded, MixedRows)
    assert list(first.sets) == ["train", "mix.books", "mix.poems"]
    assert first.sets["mix.poems"].report.num_rows == 3
    num_rows = [of_set.report.num_rows for of_set in first.sets.values()]
    assert first.report.num_rows == sum(num_rows)
    assert first.report.outcomes["whole"] == sum(num_rows)
    shares = {drawn.name: drawn.share for drawn in drawn_sets(second.encoded)}
    assert shares == pytest.approx({"train": 0.4, "books": 0.1, "poems": 0.5}, abs=0.02)


def test_only_training_rows_come_from_mixed_sets(texts):
    splits = open_splits(data_of(texts, books=0.3, poems=0.1), PRETRAIN)
    assert list(splits) == ["train", "validation", "test"]
    alone = open_splits(Data(train=texts["web"]), PRETRAIN)
    assert {name: list(rows) for name, rows in splits.items()} == {
        name: list(rows) for name, rows in alone.items()
    }


@pytest.mark.parametrize("packing", [False, True])
def test_copies_of_held_out_texts_are_removed_from_mixed_sets(texts, tokenizer, tmp_path, packing):
    held_out = next(iter(open_splits(Data(train=texts["web"]), PRETRAIN)["test"]))
    rows = [{"text": held_out["text"]}, {"text": "Another text about a ferry."}]
    texts["poems"] = str(write_jsonl(tmp_path / "poems.jsonl", rows))
    data = data_of(texts, packing, books=0.3, poems=0.1)
    train = encode(data.model_copy(update={"remove_duplicates": "exact"}), tokenizer)
    assert train.sets["mix.poems"].report.outcomes == {"duplicate": 1, "whole": 1}
    assert train.report.outcomes["duplicate"] == 1


@pytest.mark.parametrize(
    ("books", "expected"),
    [
        ({"columns": {}}, r"data\.mix\.books\.columns\.text"),
        ({"columns": {"txt": "body"}}, r"data\.mix\.books\.columns\.txt"),
        ({"train": "none.jsonl"}, r"data\.mix\.books\.train"),
        ({"limit": None, "encoding": "utf-16"}, r"data\.mix\.books\.encoding"),
    ],
)
def test_mistakes_in_a_mixed_set_name_its_keys(texts, books, expected):
    data = data_of(texts, books=0.3, poems=0.1)
    mixed = data.mix | {"books": data.mix["books"].model_copy(update=books)}
    with pytest.raises(UserError, match=expected) as refused:
        open_splits(data.model_copy(update={"mix": mixed}), PRETRAIN)
    assert "data.columns" not in str(refused.value)
