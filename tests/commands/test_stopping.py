"""SIGTERM while a command works: one line, and no files left behind."""

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
        while process.poll() is None and not any(temporary.glob("llmkit-*")):
            time.sleep(0.001)
    else:
        process.stdout.readline()
    process.terminate()
    _, errors = process.communicate()
    assert errors.splitlines()[-1] == "llmkit: stopped by SIGTERM"
    assert process.returncode == 128 + signal.SIGTERM
    assert not any(temporary.iterdir())
    assert {*tmp_path.iterdir()} == before
