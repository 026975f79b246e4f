"""Writing a folder of prepared text: interruptions do not change it, and mistakes leave none."""

import os
import random
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from texts import open_texts, write_copies

from llmkit.data import preparation, text_chunks, text_shards
from llmkit.data.prepare import prepare
from llmkit.data.splits import held_out_rows
from llmkit.data.unique_texts import Removal
from llmkit.errors import UserError
from llmkit.io.atomic import HashedFile

pytestmark = pytest.mark.usefixtures("small_parts", "own_cache")


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
        (HashedFile, "close"), (Path, "rename"), (Path, "unlink"), (preparation, "write_text"),
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


def test_finished_parts_are_not_tokenized_again(splits, tokenizer, own_cache):
    read, tokenized = [], []

    def kill_after(progress):
        read.append(progress.num_documents)
        if progress.num_documents > 40:
            raise Killed

    with pytest.raises(Killed):
        prepare(splits, tokenizer, open_progress=lambda: nullcontext(kill_after))
    (folder,) = (own_cache / "shards").iterdir()
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


def test_another_process_continues_where_one_was_killed(
    splits, tokenizer, tmp_path, own_cache, monkeypatch
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
    (folder,) = (own_cache / "shards").iterdir()
    assert content_of(folder) == undisturbed


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


def test_an_unreadable_row_is_rejected_and_leaves_no_files(path, tokenizer, own_cache, monkeypatch):
    monkeypatch.setattr(text_chunks, "SHARD_BYTES", 10**6)
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UserError, match=r"texts.jsonl:61: .*data.skip_invalid=true"):
        prepare(open_texts(path), tokenizer)
    assert list((own_cache / "shards").iterdir()) == []


def test_on_a_full_disk_the_unfinished_part_is_deleted(splits, tokenizer, own_cache, monkeypatch):
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
    (folder,) = (own_cache / "shards").iterdir()
    assert caught.value.filename == str(folder)
    assert "continue after the last finished shard" in caught.value.advice
    assert not list(folder.glob("*.partial"))
    monkeypatch.undo()
