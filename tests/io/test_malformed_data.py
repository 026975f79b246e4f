"""Malformed data files: each ends in one line that says what and where, and nothing is written."""

from pathlib import Path

import pytest
from malformed_files import CORPUS, GOOD, READABLE, ROW

import llmkit.workflows.finetune  # noqa: F401  now, so that no case pays for the import
from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.tasks import get_task


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.jsonl"
    path.write_bytes(GOOD * 3)
    return path


def finetune(llmkit, model, **data):
    """As the command line does; `text` stands for both columns of a .txt file."""
    is_txt = str(data["train"]).endswith(".txt")
    columns = ["data.columns.document=text", "data.columns.summary=text"] if is_txt else []
    return llmkit(
        "finetune", "summarize", f"model={model}", *(f"data.{k}={v}" for k, v in data.items()),
        *columns, "data.max_length=128", "generation.max_new_tokens=4", "--run-dir", "run",
    )  # fmt: skip


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: f"{case[0]}: {case[1]}")
def test_a_malformed_file_is_refused_in_one_line(llmkit, tiny_gpt2, good, tmp_path, case, tally):
    kind, name, content, place, said = case
    path = tmp_path / (name if kind == "place" else f"rows.{kind}")
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    passed = tally("malformed data files: one-line error with file and line, exit code 2")
    before = sorted(tmp_path.rglob("*"))

    result = finetune(llmkit, tiny_gpt2, train=path, validation=good, test=good)

    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    (message,) = result.stderr.splitlines()
    where = f":{place}" if isinstance(place, int) else f": {place}" if place else ""
    assert message.startswith(f"llmkit: {path}{where}: ")
    assert said in message
    assert len(message) < 600 + len(str(path))
    assert "Traceback" not in result.output
    assert sorted(tmp_path.rglob("*")) == before, "something was written"
    passed()


def test_the_malformed_files_are_many_and_all_different():
    assert len(CORPUS) >= 120
    assert len({(kind, name) for kind, name, *_ in CORPUS}) == len(CORPUS)
    files = [(kind, content) for kind, _, content, *_ in CORPUS if kind != "place"]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_malformed_validation_and_test_rows_are_refused_before_training(
    llmkit, tiny_gpt2, good, split
):
    bad = Path("bad.jsonl")
    bad.write_bytes(GOOD * 2 + b"{")
    result = finetune(
        llmkit, tiny_gpt2, **{"train": good, "validation": good, "test": good, split: bad}
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("llmkit: bad.jsonl:3: broken JSON")
    assert not Path("run").exists()


@pytest.mark.parametrize("name", READABLE)
def test_an_unusual_file_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(READABLE[name])
    path = str(tmp_path / name)
    splits = open_splits(Data(train=path, validation=path, test=path), get_task("summarize"))
    read = [(row["document"], row["summary"]) for row in splits["train"]]
    assert set(read) == {(ROW["document"], ROW["summary"])}
