"""Removal of duplicates while documents are prepared, with interruptions."""

import pytest
from texts import open_texts, write_copies, write_texts

from llmkit.data import text_shards, unique_texts
from llmkit.data.encode import EncodingOptions, encode_rows
from llmkit.data.prepare import prepare, shards_key
from llmkit.data.splits import held_out_rows
from llmkit.data.unique_texts import Removal
from llmkit.errors import UserError
from llmkit.io.atomic import HashedFile

pytestmark = pytest.mark.usefixtures("small_parts", "own_cache")


@pytest.fixture
def path(tmp_path):
    return write_copies(tmp_path / "texts.jsonl")


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_the_same_documents_are_removed_as_from_encoded_rows(path, tokenizer, kind):
    splits = open_texts(path)
    held_out = held_out_rows(splits)
    prepared, _ = prepare(splits, tokenizer, removal=Removal(kind, held_out))
    rows = [row for split in held_out for row in split]
    options = EncodingOptions(max_length=32, remove_duplicates=kind)
    _, report = encode_rows(
        splits["train"], splits["train"].task, tokenizer, options, held_out=rows
    )
    assert prepared.report.outcomes == report.outcomes
    assert {"whole", "empty", "duplicate"} <= set(report.outcomes)
    assert ("near duplicate" in report.outcomes) == (kind == "near")
    assert prepared.report.tokens == report.tokens
    for outcome in ("duplicate", "near duplicate"):
        found = (each.rows_by_problem.get(outcome) for each in (prepared.report, report))
        assert len({tuple(rows or ()) for rows in found}) == 1
    assert prepared.num_documents == report.outcomes["whole"]
    assert not list(prepared.folder.glob("*.npy")), "digests serve restarts only"


class Killed(BaseException):
    pass


def test_a_killed_preparation_continues_to_the_same_files(path, tokenizer, tmp_path, monkeypatch):
    splits = open_texts(path)
    removal = Removal("near", held_out_rows(splits))

    def content_of(name):
        folder = prepare(splits, tokenizer, tmp_path / name, removal=removal)[0].folder
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    undisturbed = content_of("undisturbed")
    monkeypatch.setattr(text_shards.PartWriter, "abandon", lambda part: None)
    close, left = HashedFile.close, 0

    def close_or_die(file):
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return close(file)

    computed = []
    digests = unique_texts.row_digests
    monkeypatch.setattr(
        unique_texts, "row_digests", lambda texts, kind: computed.append(1) or digests(texts, kind)
    )
    monkeypatch.setattr(HashedFile, "close", close_or_die)
    for allowed in (0, 1, 9, 14, 20):
        left = allowed
        with pytest.raises(Killed):
            content_of("killed")
    left, computed[:] = 10**6, []
    assert content_of("killed") == undisturbed
    resumed_with = len(computed)
    computed.clear()
    assert content_of("whole") == undisturbed
    assert resumed_with < len(computed), "digests of finished parts are read, not computed"


def test_the_key_depends_on_what_is_removed(path, tokenizer, tmp_path):
    splits = open_texts(path)
    other = open_texts(write_texts(tmp_path / "other.jsonl", 9))
    removals = [
        None, Removal("exact", []), Removal("near", []), Removal("near", held_out_rows(other)),
    ]  # fmt: skip
    assert len({shards_key(splits, tokenizer, removal) for removal in removals}) == 4


def test_text_prepared_with_its_duplicates_is_rejected(path, tokenizer, tmp_path):
    removal = Removal("exact", held_out_rows(open_texts(path)))
    folder = prepare(open_texts(path), tokenizer, tmp_path / "unique", removal=removal)[0].folder
    splits = open_texts(folder)
    again = Removal("exact", held_out_rows(splits))
    assert prepare(splits, tokenizer, removal=again)[1]
    assert prepare(splits, tokenizer)[1]
    with pytest.raises(UserError, match=r"data.remove_duplicates: .*were not removed as near"):
        prepare(splits, tokenizer, removal=Removal("near", []))
