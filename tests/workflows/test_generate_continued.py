"""Prediction files: rows are written as they finish, and interrupted files are continued."""

import os
import random
import signal
from functools import cache

import pytest
from click.testing import CliRunner
from pyarrow import parquet
from rows import TEXT, write_jsonl
from runs import forget_accelerator

from llmkit import cli
from llmkit.io.row_writer import RowWriter

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
NUM_ROWS = 300  # more than a window of 256 rows
SAMPLED = ("--max-new-tokens", 3, "--temperature", 1, "--seed", 3)


def write_prompts(folder, count=NUM_ROWS):
    rows = [
        {"id": f"n{i}", "prompt": TEXT[i % 3][: 5 + i % 20].strip(), "n": i} for i in range(count)
    ]
    return write_jsonl(folder / "in.jsonl", rows)


@pytest.fixture(scope="module")
def undisturbed(tiny_gpt2, tmp_path_factory):
    """A file of each format written without an interruption, by suffix."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_prompts(folder)

    @cache
    def content(suffix):
        words = [str(word) for word in arguments(tiny_gpt2, folder / f"out.{suffix}", folder)]
        forget_accelerator()
        result = CliRunner().invoke(cli.main, words)
        assert result.exit_code == 0, result.output
        forget_accelerator()
        return (folder / f"out.{suffix}").read_bytes()

    return content


def arguments(model, output, folder=".", more=()):
    return ["generate", "--model", model, "--input", f"{folder}/in.jsonl", "--output", output,
            *SAMPLED, *more]  # fmt: skip


def stop_after(monkeypatch, num_rows, number):
    """Send this process a signal after a number of rows."""
    append = RowWriter.append

    def append_and_send(writer, row):
        append(writer, row)
        if writer.num_rows == num_rows:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(RowWriter, "append", append_and_send)


@pytest.mark.parametrize(
    ("number", "exit_code", "stopped"),
    [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")],
)
def test_the_same_command_continues_a_stopped_file(
    llmkit, tiny_gpt2, tmp_path, monkeypatch, undisturbed, number, exit_code, stopped
):
    write_prompts(tmp_path)
    with monkeypatch.context() as patch:
        stop_after(patch, 270, number)
        result = llmkit(*arguments(tiny_gpt2, "out.csv"))
    assert result.exit_code == exit_code
    assert result.stderr.splitlines()[-1] == (
        f"llmkit: stopped by {stopped}; run the same command again to continue after 270 rows"
    )
    assert not (tmp_path / "out.csv").exists()
    forget_accelerator()
    result = llmkit(*arguments(tiny_gpt2, "out.csv"))
    assert result.exit_code == 0, result.output
    assert "continuing after 270 rows" in result.stderr
    assert (tmp_path / "out.csv").read_bytes() == undisturbed("csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.csv"]


@pytest.mark.parametrize("suffix", ["jsonl"])
def test_a_killed_file_is_continued_with_each_row_once(
    fork_server, tiny_gpt2, tmp_path, undisturbed, suffix
):
    write_prompts(tmp_path)
    for kill in ((257, 0.5), (10, 1)):
        run_killed(fork_server, tiny_gpt2, tmp_path, suffix, kill)
    process = fork_server.start(arguments(tiny_gpt2, f"out.{suffix}"), cwd=tmp_path)
    assert process.wait() == 0, process.stderr
    assert "continuing after 266 rows" in process.stderr
    assert (tmp_path / f"out.{suffix}").read_bytes() == undisturbed(suffix)


def test_a_closed_pipe_ends_the_command_quietly(fork_server, tiny_gpt2, tmp_path):
    write_prompts(tmp_path)
    words = ["generate", "--model", tiny_gpt2, "--input", "in.jsonl", "--quiet", "--json"]
    process = fork_server.start(words, cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() in (0, 1)
    assert process.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_killed_at_random_moments_equals_an_uninterrupted_one(
    fork_server, tiny_gpt2, tmp_path, undisturbed, suffix
):
    write_prompts(tmp_path)
    chance = random.Random(suffix)
    expected = undisturbed(suffix)
    for _ in range(10):
        kill = (chance.randint(1, NUM_ROWS // 10), chance.random())
        run_killed(fork_server, tiny_gpt2, tmp_path, suffix, kill)
    process = fork_server.start(arguments(tiny_gpt2, f"out.{suffix}"), cwd=tmp_path)
    assert process.wait() == 0, process.stderr
    assert (tmp_path / f"out.{suffix}").read_bytes() == expected
    if suffix == "parquet":
        assert parquet.read_table(tmp_path / "out.parquet")["n"].to_pylist() == [*range(NUM_ROWS)]


def run_killed(fork_server, model, folder, suffix, kill):
    """Run the command until it is killed while writing its n-th row."""
    words = arguments(model, f"out.{suffix}")
    process = fork_server.start(words, cwd=folder, fault=["kill_in_row", *kill])
    assert process.wait() == -signal.SIGKILL, process.stderr
    assert not (folder / f"out.{suffix}").exists()


def test_a_changed_input_or_decoding_is_rejected_in_one_line(
    llmkit, tiny_gpt2, tmp_path, monkeypatch
):
    rows = write_prompts(tmp_path, 30)
    with monkeypatch.context() as patch:
        stop_after(patch, 7, signal.SIGTERM)
        assert llmkit(*arguments(tiny_gpt2, "out.jsonl")).exit_code == 143
    partial = (tmp_path / "out.jsonl.partial").read_bytes()
    forget_accelerator()
    result = llmkit(*arguments(tiny_gpt2, "out.jsonl", more=("--seed", 4, "--top-k", 5)))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith(
        "out.jsonl.partial: contains 7 rows of an interrupted command that differs in --seed (3 "
        "then, 4 now), top_k (0 then, 5 now); repeat that command to continue it, delete the "
        "file, or choose another --output"
    )
    rows.write_text(rows.read_text().replace("ferry", "ships"))
    forget_accelerator()
    result = llmkit(*arguments(tiny_gpt2, "out.jsonl"))
    assert "that differs in input; repeat" in result.stderr.splitlines()[-1]
    assert (tmp_path / "out.jsonl.partial").read_bytes() == partial


def test_probabilities_of_a_continued_file_equal_those_of_an_uninterrupted_one(
    llmkit, classifier, tmp_path, monkeypatch
):
    """Rows are in windows of 256, counted with invalid ones, and in batches of similar length."""
    rows = [{"text": TEXT[i % 3][: 3 + i * 7 % 60] if i % 50 else i} for i in range(300)]
    write_jsonl(tmp_path / "in.jsonl", rows)
    run = ("generate", "--model", classifier, "--input", "in.jsonl", "data.skip_invalid=true")
    assert llmkit(*run, "--output", "whole.jsonl").exit_code == 0
    append = RowWriter.append

    def append_and_stop(writer, row):
        append(writer, row)
        if writer.num_rows in (100, 260):
            os.kill(os.getpid(), signal.SIGTERM)

    for exit_code in (143, 143, 0):
        forget_accelerator()
        with monkeypatch.context() as patch:
            patch.setattr(RowWriter, "append", append_and_stop)
            assert llmkit(*run, "--output", "out.jsonl").exit_code == exit_code
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 294


def test_a_full_disk_ends_in_one_line_that_says_how_to_continue(
    llmkit, tiny_gpt2, tmp_path, monkeypatch, undisturbed
):
    write_prompts(tmp_path)
    append = RowWriter.append

    def append_until_full(writer, row):
        if writer.num_rows == 20:
            writer._file.write(b"half a ro")
            raise OSError(28, os.strerror(28))
        append(writer, row)

    with monkeypatch.context() as patch:
        patch.setattr(RowWriter, "append", append_until_full)
        result = llmkit(*arguments(tiny_gpt2, "out.jsonl"))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        "out.jsonl: No space left on device; run the same command again to continue after 20 rows"
    )
    forget_accelerator()
    assert llmkit(*arguments(tiny_gpt2, "out.jsonl")).exit_code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == undisturbed("jsonl")
