"""`export`: what it prints, and its exit codes."""

import json
import shutil
from pathlib import Path

import pytest
from exported import compute_in_this_process

from llmkit.workflows import export


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Open exports in this process, which is quicker; see tests/export/test_fresh_process.py."""
    monkeypatch.setattr(export, "compute_in_fresh_process", compute_in_this_process)


def test_a_run_is_exported(llmkit, finished):
    shutil.copytree(finished, "run")
    result = llmkit("export", "run", "--to", "safetensors")
    assert result.exit_code == 0, result.output
    assert "safetensors:float32: run/exports/safetensors-float32" in result.output
    assert "4 test rows, decoded greedily" in result.output
    result = llmkit("export", "run", "--to", "safetensors")
    assert result.exit_code == 2
    assert result.stderr.strip().endswith("exists already; add --force to replace it")
    result = llmkit("export", "run", "--to", "safetensors", "--force", "--json")
    assert result.exit_code == 0, result.output
    (written,) = json.loads(result.stdout)["exports"]
    assert written["reasons"] == []
    assert written["export"]["identical_texts"] == 100


def test_other_test_rows_are_read_as_the_command_says(llmkit, finished):
    """As Excel saves a table with columns of other names."""
    shutil.copytree(finished, "run")
    text = "Text;Kurz\r\nMünchen war voll.;Volle Straßen.\r\n"
    Path("rows.csv").write_bytes(text.encode("cp1252"))
    result = llmkit(
        "export", "run", "--to", "safetensors", "data.test=rows.csv", "data.encoding=cp1252",
        "data.columns.test.document=Text", "data.columns.test.summary=Kurz",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 test row" in result.output


def test_a_run_without_readable_results_is_exported(llmkit, finished):
    """Only its report cannot be updated."""
    shutil.copytree(finished, "run")
    Path("run/metrics.json").write_text("{")
    result = llmkit("export", "run", "--to", "safetensors", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["exports"][0]["folder"] == "run/exports/safetensors-float32"
    warning = result.stderr.splitlines()[-2]
    assert warning.startswith("warning: run/report.html is not updated: run/metrics.json: damaged")


def test_a_refused_export_ends_with_code_1(llmkit, finished, monkeypatch):
    shutil.copytree(finished, "run")
    monkeypatch.setattr(export, "problems", lambda *_: ["ends nowhere"])
    result = llmkit("export", "run", "--to", "safetensors")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "llmkit: --to safetensors:float32: refused and removed: ends nowhere"
    )
    assert list(Path("run/exports").iterdir()) == []


def test_mistakes_end_with_code_2(llmkit):
    for arguments, message in (
        (["embedded", "--to", "safetensors"], "embedded: not a run"),
        (["embedded", "--to", "onyx"], "unknown format 'onyx'"),
        (["embedded"], "Missing option '--to'"),
        (["embedded", "train.epochs=2", "--to", "safetensors"], "export takes only data.test"),
    ):
        result = llmkit("export", *arguments)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
