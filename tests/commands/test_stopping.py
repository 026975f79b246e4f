"""SIGTERM or Ctrl-C while a command works: one line, and no files left behind."""

import signal
import time

import pytest
from rows import summary_rows, write_jsonl


@pytest.mark.parametrize(
    ("command", "num_rows"),
    [
        (("plan", "summarize"), 40),
        (("evaluate", "embedded", "--recipe", "summarize"), 40),
        (("check", "summarize"), 20_000),
    ],
)
def test_a_command_that_is_stopped_leaves_no_files(fork_server, tmp_path, command, num_rows):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    rows = write_jsonl(tmp_path / "rows.jsonl", summary_rows(num_rows))
    before = {*tmp_path.iterdir()}
    process = fork_server.start(
        (*command, f"data.train={rows}"),
        cwd=tmp_path,
        environment={**fork_server.environment, "TMPDIR": str(temporary)},
    )
    if command[0] == "check":  # it prints nothing before it ends
        while process.poll() is None and not any(temporary.glob("llmkit-*/*")):
            time.sleep(0.001)
    else:
        process.stdout.readline()
    process.terminate()
    _, errors = process.communicate()
    assert errors.splitlines()[-1] == "llmkit: stopped by SIGTERM"
    assert process.returncode == 128 + signal.SIGTERM
    assert not any(temporary.iterdir())
    assert {*tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")]
)
def test_a_preparation_that_is_stopped_says_how_to_continue(fork_server, tmp_path, number, name):
    texts = [{"text": f"{row['document']} {row['summary']}"} for row in summary_rows(30_000)]
    path = write_jsonl(tmp_path / "texts.jsonl", texts)
    command = ("prepare", "pretrain", "model=embedded", f"data.train={path}", "--output", "tokens")
    process = fork_server.start(command, cwd=tmp_path)
    unfinished = tmp_path / "tokens" / "unfinished.json"
    while process.poll() is None and not unfinished.exists():
        time.sleep(0.001)
    process.send_signal(number)
    _, errors = process.communicate()
    advice = "run the same command again to continue"
    assert errors.splitlines()[-1] == f"llmkit: stopped by {name}; {advice}"
    assert process.returncode == 128 + number
    assert not list(tmp_path.glob("tokens/*.bin.partial"))
