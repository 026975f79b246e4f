"""A folder of prepared text as a source of rows, and the detection of damage."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import open_texts, write_texts

from llmkit.data.prepare import prepare
from llmkit.data.prepared_text import open_prepared, tokenizer_hash
from llmkit.errors import UserError
from llmkit.model.load import load_model


@pytest.fixture(scope="module")
def original(tmp_path_factory, tokenizer):
    """The rows, and a folder with them as prepared text."""
    folder = tmp_path_factory.mktemp("prepared")
    splits = open_texts(write_texts(folder / "texts.jsonl"), by=["topic"])
    return splits, prepare(splits, tokenizer, folder / "tokens")[0]


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    for path in original[1].folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def without_id(rows):
    return [{name: row[name] for name in ("where", "text")} for row in rows]


def test_a_prepared_folder_contains_the_documents_of_all_splits(original):
    splits, prepared = original
    read = open_texts(prepared.folder, by=["topic"])
    kept = [row for row in without_id(splits["train"]) if row["text"].strip()]
    assert without_id(read["train"]) == kept
    for split in ("validation", "test"):
        assert list(read[split]) == list(splits[split])
    assert {row["by"]["topic"] for row in read["test"]} <= {"ferry", "goose"}


def test_text_may_be_prepared_again_from_a_prepared_folder(original, tokenizer):
    _, prepared = original
    again, was_there = prepare(open_texts(prepared.folder), tokenizer)
    assert (again.folder, was_there) == (prepared.folder, True)


def test_the_tokenizer_of_another_model_is_rejected(original):
    _, prepared = original
    with pytest.raises(UserError, match="tokens: prepared with the tokenizer of another model"):
        prepare(open_texts(prepared.folder), load_model("embedded")[1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"limit": 5}, "data.limit: .* is prepared text, to which no limit can be applied"),
        ({"tests": {"more": "{folder}"}}, "the more split|no test texts|test"),
    ],
)
def test_keys_that_cannot_apply_to_prepared_text_are_rejected(folder, data, message):
    if "tests" in data:
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["held_out"]["test"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        data = {"test": str(folder)}
    with pytest.raises(UserError, match=message):
        open_texts(folder, **data)


def test_an_unfinished_folder_is_rejected_as_source(folder):
    (folder / "unfinished.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"data.train: .* is not finished; run `llmkit prepare` again"
    ):
        open_texts(folder)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda folder: cut(folder / "train-00000.bin"),
            r"train-00000.bin has [\d,]+ bytes, expected",
        ),
        (lambda folder: (folder / "validation.jsonl").unlink(), "validation.jsonl is missing"),
        (
            lambda folder: (folder / "manifest.json").write_text(
                '{"format": "llmkit prepared text 9"}'
            ),
            "the format of manifest.json is not",
        ),
        (
            lambda folder: (folder / "manifest.json").write_text(
                '{"format": "llmkit prepared text 1"}'
            ),
            "manifest.json is malformed",
        ),
        (
            lambda folder: (folder / "manifest.json").write_text(
                re.sub(
                    '"tokens": [0-9]+', '"tokens": 99999', (folder / "manifest.json").read_text()
                )
            ),
            "the counts in manifest.json do not fit train-00000.bin",
        ),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json"),
    ],
)
def test_opening_a_folder_reports_damage(folder, damage, reason):
    damage(folder)
    with pytest.raises(UserError, match=rf"{folder}: .*damaged \({reason}.*delete the folder"):
        open_prepared(folder)
    with pytest.raises(UserError, match=rf"{folder}: .*damaged \({reason}"):
        open_texts(folder)


def test_verifying_finds_a_single_changed_byte(folder):
    prepared = open_prepared(folder)
    prepared.verify()
    path = folder / "train-00000.bin"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-00000\.bin has changed since it was written"):
        open_prepared(folder).verify()


@given(name=st.sampled_from(["model", "normalizer", "pre_tokenizer"]))
def test_the_hash_of_a_tokenizer_depends_only_on_what_changes_tokens(tokenizer, name):
    content = json.loads(tokenizer.backend_tokenizer.to_str())

    class Other:
        eos_token_id = tokenizer.eos_token_id

        class backend_tokenizer:
            @staticmethod
            def to_str():
                return json.dumps(content | {name: {"type": "other"}})

    assert tokenizer_hash(Other) != tokenizer_hash(tokenizer)
