"""Preparing documents: the tokens, counts and held-out rows match those of `encode_rows`, and
interruptions do not change the files."""

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from megatron_reader import read_documents
from texts import blocks_of, open_texts, text_rows, write_copies, write_texts

from llmkit.data import cache, text_chunks, text_shards
from llmkit.data import prepare as module
from llmkit.data.blocks import split_into_blocks
from llmkit.data.encode import EncodingOptions, encode_rows, encode_text
from llmkit.data.findings import find_in_split
from llmkit.data.prepare import prepare, shards_key, with_held_out
from llmkit.data.splits import held_out_rows
from llmkit.data.token_blocks import TokenBlocks
from llmkit.data.unique_texts import Removal
from llmkit.errors import UserError
from llmkit.io.atomic import HashedFile
from llmkit.tasks import is_blank


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # for a loss of power alone
    monkeypatch.setattr(text_chunks, "CHUNK_BYTES", 500)
    monkeypatch.setattr(text_chunks, "SHARD_BYTES", 1500)


@pytest.fixture
def path(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


@pytest.fixture
def splits(path):
    return open_texts(path)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("has_invalid", [False, True])
def test_blocks_and_report_equal_those_of_encoded_rows(path, tokenizer, has_invalid):
    if has_invalid:
        path.write_text("{broken\n" + path.read_text("utf-8") + "[]\n", "utf-8")
    splits = open_texts(path, skip_invalid=has_invalid)
    train = splits["train"]
    prepared, was_there = prepare(splits, tokenizer)
    assert not was_there
    assert len(prepared.shards) > 3
    read = train.read_all() if has_invalid else train
    options = EncodingOptions(max_length=32)
    _, report = encode_rows(read, train.task, tokenizer, options)
    assert prepared.report.outcomes == report.outcomes
    assert prepared.report.tokens == report.tokens
    assert find_in_split("train", prepared.report, None) == find_in_split("train", report, None)
    assert {"repeated", "end-of-text typed"} <= {
        finding.kind for finding in find_in_split("train", report, None)
    }
    eos = tokenizer.eos_token_id
    texts = [(row["where"], row["text"]) for row in train if not is_blank(row["text"])]
    ids = encode_text([text for _, text in texts], tokenizer)
    joined = ((where, [eos, *own, eos]) for (where, _), own in zip(texts, ids, strict=True))
    expected = [(where, block, block) for where, block in split_into_blocks(joined, 32)]
    assert blocks_of(TokenBlocks(prepared, 32)) == expected


def test_held_out_rows_equal_those_of_the_source(path, tokenizer):
    splits = open_texts(path, by=["topic"])
    prepared, _ = prepare(splits, tokenizer)
    read = with_held_out(splits, prepared)
    for split in ("validation", "test"):
        assert list(read[split]) == list(splits[split])
        assert read[split].held_out == splits[split].held_out
        assert read[split].source.name == str(path)
    assert [row["by"] for row in read["test"]]
    first = replace(read["test"], first=2)
    assert list(first) == list(splits["test"])[:2]


def test_splits_of_other_files_are_not_prepared(path, tokenizer, tmp_path):
    other = str(write_texts(tmp_path / "other.jsonl", 9))
    splits = open_texts(path, validation=other)
    prepared, _ = prepare(splits, tokenizer)
    assert list(prepared.held_out) == ["test"]
    assert with_held_out(splits, prepared)["validation"] is splits["validation"]
    with pytest.raises(UserError, match=r"no held-out validation .*name other rows in data\.valid"):
        open_texts(prepared.folder)
    again = open_texts(prepared.folder, validation=other)
    assert list(again["test"]) == list(with_held_out(splits, prepared)["test"])


def test_the_end_of_one_long_text_is_held_out(tmp_path, tokenizer):
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(row["text"] for row in text_rows(40)))
    splits = open_texts(path, held_out="end", rows="document")
    prepared, _ = prepare(splits, tokenizer)
    assert prepared.held_out == {}
    (row,) = splits["train"]
    (ids,) = encode_text([row["text"]], tokenizer)
    (document,) = [d for s in prepared.shards for d in read_documents(s.path)]
    assert document == [*ids, tokenizer.eos_token_id]


def test_nanogpt_and_megatron_can_read_the_shards(splits, tokenizer):
    prepared, _ = prepare(splits, tokenizer)
    for split, names in (
        ("train", [shard.path.name for shard in prepared.shards]),
        ("validation", ["validation"]),
        ("test", ["test"]),
    ):
        texts = [row["text"] for row in splits[split] if not is_blank(row["text"])]
        expected = [[*ids, tokenizer.eos_token_id] for ids in encode_text(texts, tokenizer)]
        documents = [d for name in names for d in read_documents(prepared.folder / name)]
        assert documents == expected
        flat = [np.fromfile(prepared.folder / f"{name}.bin", np.uint16) for name in names]
        assert np.concatenate(flat).tolist() == [token for ids in expected for token in ids]


def test_documents_are_tokenized_once(splits, tokenizer, monkeypatch):
    prepared, _ = prepare(splits, tokenizer)
    monkeypatch.setattr(module, "tokenize", None)
    again, was_there = prepare(splits, tokenizer)
    assert was_there
    assert again.manifest == prepared.manifest


class Killed(BaseException):
    pass


def test_a_preparation_killed_at_any_write_continues_to_the_same_files(
    splits, tokenizer, tmp_path, monkeypatch
):
    undisturbed = content_of(prepare(splits, tokenizer, tmp_path / "undisturbed")[0].folder)
    assert sum(name.endswith(".bin") for name in undisturbed) > 5
    monkeypatch.setattr(text_shards.PartWriter, "abandon", lambda part: None)
    calls = {"left": 0}

    def counted(function):
        def call(*arguments, **options):
            if calls["left"] == 0:
                raise Killed
            calls["left"] -= 1
            return function(*arguments, **options)

        return call

    for owner, name in (
        (HashedFile, "close"), (Path, "rename"), (Path, "unlink"), (module, "write_text"),
        (text_shards, "write_text"), (text_shards, "sync"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    num_kills = 0
    for allowed in range(0, 10**6, 8):
        folder = tmp_path / f"killed-{allowed}"
        calls["left"] = allowed
        try:
            prepare(splits, tokenizer, folder)
        except Killed:
            num_kills += 1
        else:
            break
        calls["left"] = -1
        assert content_of(prepare(splits, tokenizer, folder)[0].folder) == undisturbed
    assert num_kills > 10


def test_finished_parts_are_not_tokenized_again(splits, tokenizer, monkeypatch):
    read, tokenized = [], []

    def kill_after(progress):
        read.append(progress.num_documents)
        if progress.num_documents > 40:
            raise Killed

    with pytest.raises(Killed):
        prepare(splits, tokenizer, open_progress=lambda: nullcontext(kill_after))
    (folder,) = (cache.cache_folder() / "shards").iterdir()
    kept = text_shards.finished_parts(folder)
    assert len(kept) >= 2
    prepare(splits, tokenizer, open_progress=lambda: nullcontext(tokenized.append))
    assert tokenized[-1].num_documents == 60 - kept[-1]["rows"][1]
    assert tokenized[-1].num_kept_bytes == sum(part["bytes"] for part in kept)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [None, "exact", "near"])
def test_a_preparation_killed_at_20_random_moments_continues_to_the_same_files(
    tokenizer, tmp_path, monkeypatch, kind
):
    splits = open_texts(write_copies(tmp_path / "copies.jsonl"))
    removal = Removal(kind, held_out_rows(splits)) if kind else None

    def prepare_in(name):
        return prepare(splits, tokenizer, tmp_path / name, removal=removal)[0].folder

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive a fork
    started = time.monotonic()
    undisturbed = content_of(prepare_in("undisturbed"))
    assert sum(name.endswith(".bin") for name in undisturbed) > 5
    seconds, rng = time.monotonic() - started, random.Random(0)
    for number in range(20):
        child = os.fork()
        if child == 0:
            try:
                prepare_in(f"killed-{number}")
            finally:
                os._exit(0)
        time.sleep(rng.random() * seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert content_of(prepare_in(f"killed-{number}")) == undisturbed


def test_one_of_several_processes_prepares_while_the_others_wait(splits, tokenizer, monkeypatch):
    """The test uses threads, which the lock separates like processes."""
    is_preparing, is_waiting, calls = Event(), Event(), []
    write_parts = module._write_parts

    def write_slowly(*arguments):
        calls.append(arguments)
        is_preparing.set()
        assert is_waiting.wait(60)
        return write_parts(*arguments)

    monkeypatch.setattr(module, "_write_parts", write_slowly)
    monkeypatch.setattr(cache, "SECONDS_BEFORE_NOTICE", 0.0)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(prepare, splits, tokenizer)
        assert is_preparing.wait(60)
        second = pool.submit(prepare, splits, tokenizer, None, lambda text: is_waiting.set())
        results = [first.result(), second.result()]
    assert len(calls) == 1
    assert results[0][0].manifest == results[1][0].manifest


def test_another_process_continues_where_one_was_killed(
    splits, tokenizer, tmp_path, cache_folder, monkeypatch
):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive a fork
    undisturbed = content_of(prepare(splits, tokenizer, tmp_path / "undisturbed")[0].folder)
    notes, note = os.pipe()

    def start(stops_at: int) -> int:
        child = os.fork()
        if child == 0:
            code = 1
            try:

                def show(progress):
                    if progress.num_documents >= stops_at:
                        os.write(note, b"x")
                        signal.pause()

                progress = lambda: nullcontext(show)  # noqa: E731
                prepare(splits, tokenizer, None, lambda text: None, progress)
                os.write(note, b"d")
                code = 0
            finally:
                os._exit(code)
        return child

    first = start(40)
    assert os.read(notes, 1) == b"x"
    others = [start(1000) for _ in range(2)]
    os.kill(first, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in (first, *others)]
    assert codes == [-signal.SIGKILL, 0, 0]
    (folder,) = (cache_folder / "shards").iterdir()
    assert content_of(folder) == undisturbed


def test_everything_that_the_content_depends_on_changes_the_key(path, tokenizer):
    keys = {
        shards_key(open_texts(path, **data), tokenizer)
        for data in (
            {}, {"limit": 50}, {"by": ["topic"]}, {"validation_fraction": 0.3},
            {"skip_invalid": True}, {"columns": {"text": "id"}}, {"held_out": "end"},
        )
    }  # fmt: skip
    same = shards_key(open_texts(path, max_length=64), tokenizer)
    assert len(keys) == 7
    assert same in keys


def test_a_folder_with_other_contents_is_rejected_and_not_changed(
    splits, path, tokenizer, tmp_path
):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="tokens: not an empty folder; name an empty or a new one"):
        prepare(splits, tokenizer, folder)
    assert content_of(folder) == {"thesis.txt": b"mine"}
    (folder / "thesis.txt").unlink()
    prepare(splits, tokenizer, folder)
    before = content_of(folder)
    with pytest.raises(
        UserError, match="tokens: contains other text, or text prepared with other settings"
    ):
        prepare(open_texts(path, limit=50), tokenizer, folder)
    (folder / "manifest.json").rename(folder / "unfinished.json")
    with pytest.raises(
        UserError, match="tokens: contains the unfinished preparation of other text"
    ):
        prepare(open_texts(path, limit=50), tokenizer, folder)
    assert len(content_of(folder)) == len(before)


def test_a_named_folder_that_cannot_be_created_is_not_blamed_on_the_cache(
    splits, tokenizer, tmp_path
):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        prepare(splits, tokenizer, tmp_path / "file" / "tokens")
    assert caught.value.filename == str(tmp_path / "file" / "tokens")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([" "] * 60, r"texts.jsonl:1 and following: no row is left to train on \(\d+ empty\)"),
    ],
)
def test_documents_without_tokens_are_rejected_and_leave_no_files(
    tmp_path, tokenizer, texts, message
):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(f'{{"text": "{text}{" " * i}"}}\n' for i, text in enumerate(texts)))
    splits = open_texts(path, held_out="end")
    with pytest.raises(UserError, match=message):
        prepare(splits, tokenizer)


def test_an_unreadable_row_is_rejected_and_leaves_no_files(
    path, tokenizer, cache_folder, monkeypatch
):
    monkeypatch.setattr(text_chunks, "SHARD_BYTES", 10**6)
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match=r"texts.jsonl:61: .*data.skip_invalid=true"):
        prepare(open_texts(path), tokenizer)
    assert list((cache_folder / "shards").iterdir()) == []


def test_on_a_full_disk_the_unfinished_part_is_deleted(
    splits, tokenizer, cache_folder, monkeypatch
):
    write = HashedFile.write
    written = []

    def write_until_full(file, content):
        written.append(content)
        if len(written) > 50:
            raise OSError(28, os.strerror(28))
        write(file, content)

    monkeypatch.setattr(HashedFile, "write", write_until_full)
    with pytest.raises(OSError, match="No space left") as caught:
        prepare(splits, tokenizer)
    (folder,) = (cache_folder / "shards").iterdir()
    assert caught.value.filename == str(folder)
    assert "continue after the last finished shard" in caught.value.advice
    assert not list(folder.glob("*.partial"))
    monkeypatch.undo()
