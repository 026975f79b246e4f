"""The command `prepare`: output and errors."""

import pytest
from texts import write_texts


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def command(tmp_path, tiny_gpt2):
    path = write_texts(tmp_path / "texts.jsonl")
    return ("prepare", "pretrain", f"data.train={path}", f"model={tiny_gpt2}")


def test_counts_and_folder_are_printed(llmkit, command, tmp_path, cache_folder):
    result = llmkit(*command)
    assert result.exit_code == 0, result.stderr
    assert "60 documents tokenized in" in result.stdout
    (folder,) = (cache_folder / "shards").iterdir()
    assert f"{folder}: 1 shard, " in result.stdout
    for part in ("train       4", "validation  ", "test        ", " bytes per token"):
        assert part in result.stdout
    again = llmkit(*command)
    assert "tokenized in" not in again.stdout
    assert str(folder) in again.stdout
    assert llmkit(*command, "--quiet").stdout == ""


def test_an_output_folder_can_be_verified(llmkit, command, tmp_path):
    assert llmkit(*command, "--output", "tokens").exit_code == 0
    verify = ("prepare", "pretrain", "data.train=tokens", command[-1], "--verify")
    assert llmkit(*verify).exit_code == 0
    path = tmp_path / "tokens" / "train-00000.bin"
    path.write_bytes(bytes(path.stat().st_size))
    result = llmkit(*verify)
    assert result.exit_code == 2
    assert "tokens: this prepared text is damaged (train-00000.bin has changed" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    result = llmkit(*verify[:-1], "--output", "copy")
    assert result.exit_code == 2
    assert "--output: tokens is prepared text already; leave --output out" in result.stderr
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "summarize"), "task: only pretrain can be prepared, not summarize; `llmkit"),
        (("prepare", "pretrain", "data.packing=true"), "data.packing: prepare joins all documents"),
        (("prepare", "pretrain", "data.train=none.jsonl"), "none.jsonl: no such file"),
        (("prepare", "pretrain", "--output", "file"), "--output: file: "),
        (("prepare", "pretrain", "--output", "full"), "full: not an empty folder"),
        (("prepare", "pretrain", "data.train=empty.jsonl"), "empty.jsonl"),
    ],
)
def test_a_mistake_is_reported_in_one_line(llmkit, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    result = llmkit(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
